"""The design space: what a config says, refuses, and builds."""

import pytest
import torch

from multiace.errors import InputError
from multiace.model import PRESETS, ModelConfig
from multiace.model.config import FIRST_LAYER_FIELDS, OPEN_TABLES, TABLES
from tests.model.design_space import (
    BASE,
    NEEDS,
    graph_of,
    molecule,
    one_key_changes,
    random_potential,
)


def test_every_field_has_one_line_of_help():
    for name, field in ModelConfig.model_fields.items():
        assert field.description, name
        assert "\n" not in field.description


def test_tables_name_fields_and_contain_their_defaults():
    for field, table in TABLES.items():
        assert ModelConfig.model_fields[field].default in table
    assert set(OPEN_TABLES) < set(TABLES)
    assert set(FIRST_LAYER_FIELDS) < set(ModelConfig.model_fields)


@pytest.mark.parametrize("field", TABLES)
def test_a_misspelt_choice_is_corrected(field):
    choice = max(TABLES[field], key=len)
    with pytest.raises(
        InputError, match=rf"model\.{field} = '{choice}x' is not a choice\. Did you mean '{choice}'"
    ):
        ModelConfig(**{field: f"{choice}x"})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"hidden_irreps": "8x1o"},
            "model.hidden_irreps = '8x1o' has no 0e, so that there is nothing to read",
        ),
        (
            {"hidden_irreps": "8x0e + 2x1e", "l_max": 0},
            "model.hidden_irreps = '8x0e + 2x1e': 1e can never be reached",
        ),
        (
            {"hidden_irreps": "8x0e + 8x0o", "l_max": 3},
            "model.hidden_irreps = '8x0e + 8x0o': 0o can never be reached",
        ),
        (
            {"hidden_irreps": "8x0e + 1x4e", "l_max": 3},
            "model.hidden_irreps = '8x0e + 1x4e': 4e can never be reached",
        ),
        ({"hidden_irreps": "8x0e + 8x0e"}, "model.hidden_irreps = '8x0e + 8x0e': irrep 0e occurs twice"),
        (
            {"hidden_irreps": "8 0e"},
            "model.hidden_irreps = '8 0e': irreps '8 0e': the term '8 0e' cannot be read",
        ),
        ({"hidden_irreps": ""}, "model.hidden_irreps = '': irreps '': the term '' cannot be read"),
        ({"elements": ["H", "Q"]}, "model.elements: 'Q' is not a chemical symbol."),
        ({"elements": ["H", "H"]}, "model.elements names an element twice: H, H."),
        ({"cutoff": 0}, "model.cutoff = 0 cannot be used. Allowed: number (above 0); default 5.0."),
        ({"cutoff": float("inf")}, "model.cutoff = inf cannot be used. Allowed: finite number (above 0)"),
        ({"l_max": 7}, "model.l_max = 7 cannot be used. Allowed: integer (at least 0, at most 6)"),
        ({"correlation": 5}, "model.correlation = 5 cannot be used. Allowed: integer (at least 1,"),
        ({"l_max": True}, "model.l_max = true cannot be used. Allowed: integer (at least 0, at most 6)"),
        ({"num_layers": 0}, "model.num_layers = 0 cannot be used. Allowed: integer (at least 1, "),
        ({"dtype": "float16"}, "model.dtype = 'float16' is not a choice. Did you mean 'float64'?"),
        ({"radial_widths": [8, 0]}, "model.radial_widths = [8, 0]: every width must be at least 1."),
        ({"radial_widths": []}, "model.radial_network = mlp needs radial_widths; for none use"),
        (
            {"radial_basis": "legendre", "trainable_radial": True},
            "the legendre radial basis has nothing to train;",
        ),
        (
            {"radial_basis": "no_such_package:Basis"},
            "model.radial_basis = 'no_such_package:Basis' cannot be imported",
        ),
        ({"nonlinearity": "torch:relu"}, "model.nonlinearity = 'torch:relu' is not a choice."),
        ({"energy_reference": "given"}, "model.energy_reference = given needs isolated_energies, such as"),
        (
            {"isolated_energies": {"H": -1.0}},
            "model.isolated_energies are given, but energy_reference = isolated",
        ),
        (
            {"energy_reference": "given", "isolated_energies": {"H": -1.0}, "elements": ["H", "C"]},
            "model.isolated_energies lacks C.",
        ),
        (
            {"energy_reference": "given", "isolated_energies": {"Hh": -1.0}},
            "model.isolated_energies: 'Hh' is not a chemical symbol.",
        ),
        (
            {"energy_reference": "given", "isolated_energies": {"H": float("nan")}},
            "model.isolated_energies.H = nan cannot be used. Allowed: finite number.",
        ),
        (
            {"first_layer": {"self_connection": "none"}},
            "model.first_layer: set first_self_connection instead",
        ),
        ({"first_layer": {"cutoff": 3.0}}, "model.first_layer: 'cutoff' cannot differ between layers."),
        (
            {"first_layer": {"nonlinearity": "gte"}},
            "model.nonlinearity = 'gte' is not a choice. Did you mean 'gate'?",
        ),
        ({"first_layer": {"radial_widths": []}}, "model.radial_network = mlp needs radial_widths"),
        ({"first_layer": {"radial_widths": [True]}}, "model.radial_widths = [true] cannot be used."),
    ],
    ids=lambda value: None if isinstance(value, str) else str(value),
)
def test_configs_without_sense_are_refused(changes, sentence):
    with pytest.raises(InputError) as error:
        ModelConfig(**changes)
    assert str(error.value).startswith(sentence)
    assert "\n" not in str(error.value)


def test_a_preset_supplies_the_fields_that_are_not_given():
    config = ModelConfig.from_dict({"preset": "botnet-small", "cutoff": 4.5})
    assert config == PRESETS["botnet-small"].replace(cutoff=4.5)
    assert ModelConfig.from_dict({"cutoff": 4.5}) == ModelConfig(cutoff=4.5)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"preset": "botnett"}, "model.preset = 'botnett' is not a preset. Did you mean 'botnet'?"),
        ({"preset": ["mace"]}, "model.preset = ['mace'] is not a preset."),
        ({"preset": "mace", "cutof": 4.0}, "model has no field 'cutof'. Did you mean 'cutoff'?"),
        ({1: 2}, "model has no field '1'."),
    ],
    ids=["unknown", "list", "field", "number"],
)
def test_model_sections_without_sense_are_refused(values, sentence):
    with pytest.raises(InputError) as error:
        ModelConfig.from_dict(values)
    assert str(error.value).startswith(sentence)


def test_a_config_survives_json():
    for config in PRESETS.values():
        assert ModelConfig(**ModelConfig.model_validate_json(config.model_dump_json()).model_dump()) == config


def test_the_first_layer_may_differ():
    config = BASE.replace(first_layer={"nonlinearity": "gate", "radial_widths": [3]})
    assert config.of_layer(0).nonlinearity == "gate"
    assert config.of_layer(0).radial_widths == (3,)
    assert config.of_layer(0).self_connection == config.first_self_connection
    assert config.of_layer(1) == config


CHANGES = one_key_changes(BASE)


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_asked_for_is_what_is_built(name):
    """No field is ignored: the same random numbers make another energy, or there are other parameters."""
    plain, changed = BASE.replace(**NEEDS.get(name.partition("=")[0], {})), BASE.replace(**CHANGES[name])
    if changed != plain:  # the choice is not the default
        at, other = random_potential(plain), random_potential(changed)
        with torch.no_grad():
            energies = [p(graph_of(molecule(), p), forces=False).energy for p in (at, other)]
        names = [[name for name, _ in p.named_parameters()] for p in (at, other)]
        assert names[0] != names[1] or not torch.equal(*energies)


def test_full_coupling_reaches_what_needs_two_different_channels():
    """The cross product of two vectors is axial: 1o x 1o -> 1e, which is zero for one vector with itself."""
    axial = {"hidden_irreps": "4x0e + 2x1e", "l_max": 1, "correlation": 2}
    config = BASE.replace(**axial, channel_coupling="full")
    layers = random_potential(config).network.layers
    assert str(layers[0].irreps.h_out) == "4x0e + 2x1e"
    with pytest.raises(InputError, match="1e can never be reached"):
        BASE.replace(**axial, channel_coupling="channelwise")
