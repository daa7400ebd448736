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


def test_a_preset_supplies_the_fields_that_are_not_given():
    config = ModelConfig.from_dict({"preset": "botnet-small", "cutoff": 4.5})
    assert config == PRESETS["botnet-small"].replace(cutoff=4.5)
    assert ModelConfig.from_dict({"cutoff": 4.5}) == ModelConfig(cutoff=4.5)


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
