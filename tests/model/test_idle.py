"""Fields without effect: what is given acts, what is inherited may idle."""

import pytest
import torch

from multiace.errors import InputError
from multiace.model import PRESETS, ModelConfig, Potential
from multiace.model.config import TABLES
from multiace.model.consistent import COMPLETE
from multiace.model.idle import BESIDE, idle_fields
from tests.model.design_space import BASE, graph_of, molecule, random_potential

BOTH = "8x0e + 8x0o + 8x1o + 8x1e"

REFUSED = {
    "radial_widths has no effect with radial_network = linear: remove it, or set radial_network = mlp.": {
        "radial_network": "linear",
        "radial_widths": [32],
    },
    "radial_activation has no effect with radial_network = linear": {
        "preset": "painn",
        "radial_activation": "gelu",
    },
    "radial_norm has no effect with radial_network = linear: remove it, or set radial_network = mlp.": {
        "radial_network": "linear",
        "radial_norm": "layer",
    },
    "first_layer.radial_norm has no effect with radial_network = linear": {
        "radial_network": "linear",
        "first_layer": {"radial_norm": "layer"},
    },
    "envelope_power has no effect with envelope = cosine": {"preset": "schnet", "envelope_power": 2},
    "embedding_dim has no effect with element_embedding = one_hot": {"embedding_dim": 4},
    "activation has no effect with nonlinearity = none": {"preset": "botnet", "activation": "gelu"},
    "odd_activation has no effect with nonlinearity = norm": {
        "nonlinearity": "norm",
        "odd_activation": "tanh",
    },
    "odd_activation has no effect, as no gate sees 0o with hidden_irreps = 64x0e and num_layers = 6": {
        "preset": "schnet",
        "odd_activation": "softsign",
    },
    "readout_width has no effect with readout_function = finnis_sinclair": {
        "readout_function": "finnis_sinclair",
        "readout_width": 8,
    },
    "total_degree has no effect beside products": {
        "preset": "ace",
        "products": [[[0, 1, 0]]],
        "total_degree": 5,
    },
    "total_degree = [5.0, 4.0, 3.0]: with correlation = 2 only the first 2 of the 3 numbers": {
        "preset": "ace",
        "correlation": 2,
        "total_degree": [5, 4, 3],
    },
    "degree_weight has no effect with correlation = 1, which is of functions of one": {
        "preset": "ace",
        "correlation": 1,
        "degree_weight": 1.0,
    },
    "num_radial has no effect with correlation = 1 and pair_num_radial = 12, which is": {
        "preset": "ace",
        "correlation": 1,
        "num_radial": 4,
    },
    "products has no effect with channel_coupling = channelwise": {"products": [[[0, 1, 0]]]},
    "readout_exponents has no effect with readout_function = mlp": {"readout_exponents": [0.5]},
    "readout_activation has no effect with readout_width = 0": {
        "readout_width": 0,
        "readout_activation": "silu",
    },
    "self_connection has no effect with num_layers = 1": {
        "preset": "botnet",
        "num_layers": 1,
        "self_connection": "none",
    },
    "readout has no effect with num_layers = 1": {"preset": "ace", "readout": "every"},
    "hidden_irreps = 8x0e + 8x1o: with num_layers = 1 no layer passes 1o on; leave that out, or set "
    "num_layers = 2.": {"num_layers": 1, "hidden_irreps": "8x0e + 8x1o"},
    "hidden_irreps = 8x0e + 8x2e: with num_layers = 1 no": {
        "preset": "ace-tensor-reduced",
        "hidden_irreps": "8x0e + 8x2e",
    },
    f"hidden_irreps = {BOTH}: with num_layers = 2 no layer passes 0o, 1e on; leave that out, or set "
    "num_layers = 4.": {"num_layers": 2, "hidden_irreps": BOTH},
    "l_max = 3 has no effect above 2 with hidden_irreps = 8x0e + 8x1o, num_layers = 3 and correlation = 1: "
    "remove it, or set l_max = 2.": {"num_layers": 3, "hidden_irreps": "8x0e + 8x1o", "l_max": 3},
    "l_max = 2 has no effect above 1 with": {"num_layers": 2, "hidden_irreps": "8x0e + 8x1o", "l_max": 2},
    "l_max = 1 has no effect above 0": {"preset": "schnet", "l_max": 1},
    "l_max = 1 has no effect above 0 with hidden_irreps = 32x0e + 32x1o + 32x2e, num_layers = 1 and "
    "correlation = 1: remove it, or set l_max = 0 and hidden_irreps = 32x0e.": {
        "preset": "botnet-small",
        "num_layers": 1,
        "l_max": 1,
    },
    "first_layer.activation has no effect with nonlinearity = none": {
        "first_layer": {"activation": "gelu"},
    },
    "radial_widths has no effect with radial_network = linear": {
        "radial_network": "linear",
        "radial_widths": [4],
        "first_layer": {"radial_network": "mlp", "radial_widths": [8]},
    },
    "radial_species has no effect with num_layers = 1 where first_layer sets it too": {
        "num_layers": 1,
        "radial_species": "pair",
        "first_layer": {"radial_species": "sender"},
    },
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_a_field_given_without_effect_is_refused(sentence):
    with pytest.raises(InputError) as error:
        ModelConfig.from_dict(REFUSED[sentence])
    assert str(error.value).startswith(f"model.{sentence}")
    assert "\n" not in str(error.value)
    if "preset" not in REFUSED[sentence]:
        with pytest.raises(InputError) as error:
            ModelConfig(**REFUSED[sentence])
        assert str(error.value).startswith(f"model.{sentence}")


@pytest.mark.parametrize(
    "values",
    [
        {"preset": "botnet", "num_layers": 1},
        {"preset": "botnet", "radial_network": "linear"},
        {"preset": "botnet", "hidden_irreps": "8x0e"},
        {"preset": "mace", "correlation": 1, "product_elements": False},
        {"preset": "ace", "l_max": 6},
        {"preset": "ace", "total_degree": 7},
        {"preset": "ace", "correlation": 2},
        {"preset": "ace", "correlation": 1},
        {"preset": "nequip", "odd_activation": "softsign"},
        {"radial_network": "linear", "radial_widths": [4], "first_layer": {"radial_network": "mlp"}},
        {"nonlinearity": "gate", "first_layer": {"activation": "gelu"}},
        # 1e is not passed on, but has products of both parities.
        {"hidden_irreps": "8x0e + 8x1o + 8x1e", "num_layers": 2, "correlation": 2},
    ],
    ids=str,
)
def test_what_is_inherited_may_idle_and_what_acts_may_be_given(values):
    ModelConfig.from_dict(values)


@pytest.mark.parametrize(
    ("values", "later", "refused"),
    [
        ({"hidden_irreps": "8x0e + 8x1o", "num_layers": 1}, ["num_layers"], False),
        ({"hidden_irreps": "8x0e + 8x1o", "num_layers": 1}, ["hidden_irreps"], True),
        ({"hidden_irreps": "8x0e + 8x1o", "num_layers": 1}, ["hidden_irreps", "num_layers"], True),
        ({"radial_widths": [4], "radial_network": "linear", "cutoff": 4}, ["cutoff"], True),
        ({"radial_widths": [4], "preset": "painn"}, ["preset"], False),
        ({"radial_widths": [4], "preset": "painn"}, ["radial_widths"], True),
    ],
    ids=str,
)
def test_what_is_given_later_may_leave_idle_what_was_given_before(values, later, refused):
    if refused:
        with pytest.raises(InputError):
            ModelConfig.from_dict(values, later)
    else:
        ModelConfig.from_dict(values, later)


@pytest.mark.parametrize("name", PRESETS)
def test_a_whole_config_is_taken_as_it_is(name):
    """Resolved run files, model files and layers give every field."""
    config = PRESETS[name]
    assert ModelConfig.from_dict(config.model_dump()) == ModelConfig(**config.model_dump()) == config
    assert config.replace(num_layers=1).of_layer(0).num_layers == 1
    with pytest.raises(InputError, match=r"model\.embedding_dim has no effect"):
        ModelConfig.from_dict(config.model_dump(), ["embedding_dim"])


def test_a_model_file_of_before_a_field_was_added_is_read(tmp_path, monkeypatch):
    config = BASE.replace(radial_network="linear")
    older = {field: value for field, value in config.model_dump().items() if field != "zbl"}
    at = random_potential(config)
    monkeypatch.setattr(ModelConfig, "model_dump", lambda self: older)
    at.save(tmp_path / "model.safetensors")
    monkeypatch.undo()
    assert Potential.load(tmp_path / "model.safetensors").config == config


def test_a_whole_config_of_before_a_field_was_added_is_taken_as_it_is():
    for config in PRESETS.values():
        older = {field: value for field, value in config.model_dump().items() if field not in config.added}
        assert ModelConfig.from_dict(older) == ModelConfig(**older) == config
    with pytest.raises(InputError, match=r"model\.embedding_dim has no effect"):
        ModelConfig.from_dict(older, ["embedding_dim"])


CHANGES = {
    "envelope_power": 3,
    "radial_widths": (5, 6),
    "radial_activation": "tanh",
    "radial_norm": "layer",
    "feature_norm": "layer",
    "embedding_dim": 3,
    "self_connection": "none",
    "activation": "gelu",
    "odd_activation": "softsign",
    "readout": "last",
    "readout_activation": "gelu",
    "readout_width": 3,
    "readout_exponents": (0.7,),
    "total_degree": (4.0,),
    "n_max": 2,
    "products": (((0, 1, 0),),),
    "pair_num_radial": 3,
    "pair_envelope": "cosine",
    "degree_weight": 0.7,
}
MORE = {"num_radial": 3, "envelope": "cosine"}
"""Of fields that nearly always act."""

POINTS = {
    "one layer": {"num_layers": 1},
    "one layer, products": {"num_layers": 1, "correlation": 3, "hidden_irreps": "3x0e + 2x1o + 1x2e"},
    "linear": {"radial_network": "linear", "envelope": "cosine", "readout_width": 0},
    "densities": {"num_layers": 2, "readout_function": "finnis_sinclair"},
    "gate": {"nonlinearity": "gate", "element_embedding": "continuous"},
    "gate of 0o": {
        "nonlinearity": "gate",
        "hidden_irreps": "3x0e + 2x0o + 2x1o + 2x1e",
        "num_layers": 5,
        "correlation": 2,
    },
    "complete": {
        "channel_coupling": "complete",
        "hidden_irreps": "2x0e",
        "num_layers": 1,
        "correlation": 2,
        "total_degree": (5.0,),
        "radial_network": "none",
        "first_self_connection": "none",
    },
    "complete, R of pairs": {
        "channel_coupling": "complete",
        "hidden_irreps": "2x0e",
        "num_layers": 1,
        "correlation": 2,
        "total_degree": (5.0,),
        "envelope": "cosine",
        "pair_num_radial": 2,
        "radial_network": "linear",
        "radial_species": "pair",
        "first_self_connection": "none",
    },
    "complete, one factor": {
        "channel_coupling": "complete",
        "hidden_irreps": "2x0e",
        "num_layers": 1,
        "correlation": 1,
        "total_degree": (5.0,),
        "l_max": 0,
        "pair_num_radial": 2,
        "radial_network": "none",
        "first_self_connection": "none",
    },
    "first gate": {"first_layer": {"nonlinearity": "gate"}},
    "last gate": {"nonlinearity": "gate", "first_layer": {"nonlinearity": "none"}},
    "invariants": {"hidden_irreps": "4x0e", "l_max": 2},
    "vectors": {"hidden_irreps": "4x0e + 2x1o", "num_layers": 3, "l_max": 4},
    "lost": {"hidden_irreps": "3x0e + 2x0o + 2x1o + 2x1e", "num_layers": 2},
    "lost, products": {"hidden_irreps": "3x0e + 2x1o + 2x2o", "num_layers": 1, "correlation": 2},
}


def without(config, idle):
    """The change that the sentence asks for, or any change of the field."""
    if idle.field == "hidden_irreps":
        lost = idle.sentence.partition("passes ")[2].partition(" on;")[0].split(", ")
        kept = (str(block) for block in config.irreps if str(block.irrep) not in lost)
        return {"hidden_irreps": " + ".join(kept)}
    if idle.field == "l_max":
        l_max, _, irreps = (
            idle.sentence.partition("set l_max = ")[2].rstrip(".").partition(" and hidden_irreps = ")
        )
        return {"l_max": int(l_max), "hidden_irreps": irreps or config.hidden_irreps}
    return {idle.field: (CHANGES | MORE)[idle.field]}


@pytest.mark.parametrize("name", POINTS)
def test_idle_fields_are_those_that_change_nothing(name):
    config = BASE.replace(**POINTS[name])
    refused = COMPLETE if config.channel_coupling == "complete" else {}
    changes = {idle.field: without(config, idle) for idle in idle_fields(config) if idle.field not in refused}
    others = {field: value for field, value in CHANGES.items() if field not in {*changes, *refused}}
    parameters, energy = built(config)
    for change in changes.values():
        same, energy_then = built(config.replace(**change))
        assert same == parameters, change
        torch.testing.assert_close(energy_then, energy, rtol=1e-10, atol=0)
    for field, value in others.items():
        other, energy_then = built(config.replace(**{field: value}))
        assert other != parameters or not torch.equal(energy_then, energy), field


def built(config):
    at = random_potential(config)
    with torch.no_grad():
        for parameter in at.parameters():
            parameter.mul_(1.2)  # what passes through all layers must not be lost in rounding
        energy = at(graph_of(molecule(), at), forces=False).energy
    return [(name, parameter.shape) for name, parameter in at.named_parameters()], energy


def test_the_table_names_fields_and_choices():
    for field, other, values, _ in BESIDE:
        assert {field, other} <= set(ModelConfig.model_fields)
        assert set(values) <= set(TABLES.get(other, values))
