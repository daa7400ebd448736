"""Sections of a run file: what they refuse, and how they say it."""

from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field, field_validator

from multiace.config import Config, choose, parse_overrides, read_yaml
from multiace.errors import InputError, did_you_mean


class PlanetConfig(Config):
    radius: float = Field(1.0, gt=0, description="radius [Earth radii]")
    moons: tuple[str, ...] = Field((), description="names of the moons")
    masses: dict[str, float] = Field({}, description="masses by name")
    kind: Literal["rock", "gas"] = Field("rock", description="what it is made of")
    ring_number: int = Field(..., description="number of rings")

    @field_validator("moons")
    @classmethod
    def _distinct(cls, moons):
        if len(set(moons)) != len(moons):
            raise InputError(f"planet.moons names one twice: {', '.join(moons)}.")
        return moons


def test_a_section_is_named_after_its_class():
    assert PlanetConfig.section() == "planet"


def test_fields_cannot_be_assigned():
    planet = PlanetConfig(ring_number=0)
    with pytest.raises(ValueError, match="frozen"):
        planet.radius = 2.0


def test_replace_validates_again():
    planet = PlanetConfig(ring_number=0)
    assert planet.replace(radius=2).radius == 2.0
    assert planet.radius == 1.0
    with pytest.raises(InputError, match=r"planet\.radius = -1: Input should be greater than 0\."):
        planet.replace(radius=-1)
    with pytest.raises(InputError, match="planet has no field 'radios'"):
        planet.replace(radios=1)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"ring_nomber": 1}, "planet has no field 'ring_nomber'. Did you mean 'ring_number'?"),
        ({"colour": 1}, "planet has no field 'colour'. Allowed: kind, masses, moons, radius, ring_number."),
        ({}, "planet.ring_number = {}: Field required."),
        ({"ring_number": 1.5}, "planet.ring_number = 1.5: Input should be a valid integer"),
        ({"ring_number": 1, "radius": 0}, "planet.radius = 0: Input should be greater than 0."),
        ({"ring_number": 1, "radius": float("nan")}, "planet.radius = nan: Input should be a finite number."),
        ({"ring_number": 1, "radius": float("inf")}, "planet.radius = inf: Input should be a finite number."),
        ({"ring_number": 1, "masses": {"Moon": float("nan")}}, "planet.masses.Moon = nan: "),
        ({"ring_number": 1, "kind": "ice"}, "planet.kind = 'ice': Input should be 'rock' or 'gas'."),
        ({"ring_number": 1, "moons": "Io"}, "planet.moons = 'Io': Input should be a valid tuple."),
        ({"ring_number": 1, "moons": ["Io", "Io"]}, "planet.moons names one twice: Io, Io."),
    ],
    ids=lambda value: None if isinstance(value, str) else " ".join(value) or "nothing",
)
def test_each_mistake_has_one_sentence(values, sentence):
    with pytest.raises(InputError) as error:
        PlanetConfig(**values)
    assert str(error.value).startswith(sentence)
    assert "\n" not in str(error.value)


def test_a_choice_is_looked_up_in_its_table():
    assert choose({"one": 1, "two": 2}, "two", "planet.kind") == 2
    with pytest.raises(InputError, match=r"planet\.kind = 'tow' is not a choice\. Did you mean 'two'\?"):
        choose({"one": 1, "two": 2}, "tow", "planet.kind")


def test_a_choice_may_come_from_outside():
    assert choose({}, "collections:OrderedDict", "planet.kind").__name__ == "OrderedDict"


@pytest.mark.parametrize(
    "name", ["no_such_module:x", "collections:NoSuchClass", ":x", ".relative:x", "collections:", "..:"]
)
def test_a_choice_that_cannot_be_imported_is_refused(name):
    with pytest.raises(InputError, match="cannot be imported"):
        choose({}, name, "planet.kind")


def test_a_choice_from_outside_is_a_class_or_function():
    with pytest.raises(InputError, match="is not a class or function, but a float"):
        choose({}, "math:pi", "planet.kind")


def test_yaml_is_read(tmp_path):
    (tmp_path / "run.yaml").write_text("model: {cutoff: 5.0}\ntrain:\n  max_epochs: 3\n")
    assert read_yaml(tmp_path / "run.yaml") == {"model": {"cutoff": 5.0}, "train": {"max_epochs": 3}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        (b"model: {cutoff: 5", "is not valid YAML"),
        (b"- 1\n- 2", "must hold sections such as 'model:', found list"),
        (b"", "must hold sections"),
        (b"\xff\xfe\x00", "cannot read"),
        (b"model: !!python/object/apply:os.getcwd []", "is not valid YAML"),
    ],
    ids=["missing", "broken", "list", "empty", "binary", "code"],
)
def test_yaml_that_cannot_be_used_is_refused(tmp_path, content, message):
    path: Path = tmp_path / "run.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        read_yaml(path)
    assert "run.yaml" in str(error.value)
    assert "\n" not in str(error.value)


def test_overrides_are_yaml_values_by_section():
    overrides = ["train.max_epochs=10", "model.elements=[H, C]", "train.loss=huber", "data.train=a=b.xyz"]
    assert parse_overrides(overrides) == {
        "train": {"max_epochs": 10, "loss": "huber"},
        "model": {"elements": ["H", "C"]},
        "data": {"train": "a=b.xyz"},
    }


@pytest.mark.parametrize("item", ["max_epochs=10", "train.max_epochs", "train.=1", ".x=1", "train.x=[1", ""])
def test_overrides_that_cannot_be_read_are_refused(item):
    with pytest.raises(InputError, match="override"):
        parse_overrides([item])


def test_did_you_mean_names_the_closest_word_or_all():
    assert did_you_mean("bessle", ["bessel", "gaussian"]) == " Did you mean 'bessel'?"
    assert did_you_mean("xyz", ["b", "a"]) == " Allowed: a, b."
