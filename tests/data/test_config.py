"""The data section of a run file."""

from pathlib import Path

import pytest
import yaml

from multiace.data.config import DataConfig, LabelKeys


def test_one_file_and_a_fraction_are_enough():
    config = DataConfig(train="a.xyz", valid=0.1)
    assert (config.train, config.valid, config.test, config.seed) == (("a.xyz",), 0.1, (), 0)


@pytest.mark.parametrize(
    ("given", "kept"),
    [("b.xyz", ("b.xyz",)), (["b.xyz", Path("c.xyz")], ("b.xyz", "c.xyz")), (50, 50), (0.25, 0.25)],
)
def test_validation_set_is_files_or_a_part(given, kept):
    valid = DataConfig(train="a.xyz", valid=given).valid
    assert valid == kept
    assert type(valid) is type(kept)


def test_config_survives_a_yaml_file():
    config = DataConfig(
        train=["a.xyz", "b.db"], valid=20, stress_unit="GPa", config_type_weights={"bulk": 2.0}
    )
    assert DataConfig(**yaml.safe_load(yaml.safe_dump(config.model_dump()))) == config


@pytest.mark.parametrize("field", list(DataConfig.model_fields))
def test_every_field_has_a_help_line(field):
    assert DataConfig.model_fields[field].description


def test_label_keys_have_defaults():
    assert LabelKeys().energy_key is None
