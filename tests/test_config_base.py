"""Sections of a run file: what they refuse, and how they say it."""

from typing import Any, Literal

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
    life: bool = Field(False, description="whether there is any")
    star: str = Field("Sun", description="what it goes round")
    orders: tuple[int, ...] = Field((1, 2), description="resonances")
    age: float | None = Field(None, ge=0, lt=1, description="age [13.8 Ga]")
    found: int | str = Field("", description="who found it, or in which year")
    other: dict[str, Any] = Field({}, description="what else there is to say")

    def idle(self):
        yield from self.idle_beside("orders", "kind = gas, or some moons", kind=("rock",), moons=((),))

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
    with pytest.raises(InputError, match=r"planet\.radius = -1 cannot be used\. Allowed: number \(above 0\)"):
        planet.replace(radius=-1)
    with pytest.raises(InputError, match="planet has no field 'radios'"):
        planet.replace(radios=1)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"ring_nomber": 1}, "planet has no field 'ring_nomber'. Did you mean 'ring_number'?"),
        ({"colour": 1}, "planet has no field 'colour'. Allowed: age, "),
        ({}, "planet.ring_number is missing; give it: number of rings."),
        ({"ring_number": 1, "moons": ["Io", "Io"]}, "planet.moons names one twice: Io, Io."),
    ],
    ids=lambda value: None if isinstance(value, str) else " ".join(value) or "nothing",
)
def test_each_mistake_has_one_sentence(values, sentence):
    with pytest.raises(InputError) as error:
        PlanetConfig(**values)
    assert str(error.value).startswith(sentence)
    assert "\n" not in str(error.value)


QUOTES = " Put it in quotes: YAML takes yes, no, on and off for true and false."


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("ring_number", 1.5, "planet.ring_number = 1.5 cannot be used. Allowed: integer."),
        ("ring_number", "two", "planet.ring_number = 'two' cannot be used. Allowed: integer."),
        ("ring_number", None, "planet.ring_number = null cannot be used. Allowed: integer."),
        ("ring_number", True, "planet.ring_number = true cannot be used. Allowed: integer."),
        ("radius", 0, "planet.radius = 0 cannot be used. Allowed: number (above 0); default 1.0."),
        ("radius", "x", "planet.radius = 'x' cannot be used. Allowed: number (above 0); default 1.0."),
        ("radius", False, "planet.radius = false cannot be used. Allowed: number (above 0); default 1.0."),
        (
            "radius",
            float("nan"),
            "planet.radius = nan cannot be used. Allowed: finite number (above 0); default 1.0.",
        ),
        (
            "radius",
            float("inf"),
            "planet.radius = inf cannot be used. Allowed: finite number (above 0); default 1.0.",
        ),
        ("life", 0.5, "planet.life = 0.5 cannot be used. Allowed: true or false."),
        ("kind", "ice", "planet.kind = 'ice' is not a choice. Allowed: gas, rock."),
        ("kind", "rok", "planet.kind = 'rok' is not a choice. Did you mean 'rock'?"),
        ("star", 3, "planet.star = 3 cannot be used. Allowed: text; default Sun."),
        ("star", False, f"planet.star = false cannot be used. Allowed: text; default Sun.{QUOTES}"),
        ("moons", "Io", "planet.moons = 'Io' cannot be used. Allowed: list of text. Write [Io]."),
        ("moons", 4, "planet.moons = 4 cannot be used. Allowed: list of text."),
        ("moons", ["Io", 4], "planet.moons.1 = 4 cannot be used. Allowed: text."),
        ("moons", [True], f"planet.moons.0 = true cannot be used. Allowed: text.{QUOTES}"),
        (
            "orders",
            3,
            "planet.orders = 3 cannot be used. Allowed: list of integer; default [1, 2]. Write [3].",
        ),
        (
            "orders",
            (True,),
            "planet.orders = [true] cannot be used. Allowed: list of integer; default [1, 2].",
        ),
        (
            "orders",
            [1, True],
            "planet.orders = [1, true] cannot be used. Allowed: list of integer; default [1, 2].",
        ),
        ("masses", 3, "planet.masses = 3 cannot be used. Allowed: {text: number}."),
        ("masses", {"Io": "x"}, "planet.masses.Io = 'x' cannot be used. Allowed: number."),
        ("masses", {"Io": float("nan")}, "planet.masses.Io = nan cannot be used. Allowed: finite number."),
        ("masses", {"Io": True}, "planet.masses = {Io: true} cannot be used. Allowed: {text: number}."),
        ("masses", {1: 2.0}, "a key of planet.masses = 1 cannot be used. Allowed: text."),
        ("age", 2, "planet.age = 2 cannot be used. Allowed: number (at least 0, below 1) or null."),
        ("age", True, "planet.age = true cannot be used. Allowed: number (at least 0, below 1) or null."),
        ("found", [], "planet.found = [] cannot be used. Allowed: integer or text."),
    ],
    ids=str,
)
def test_a_value_of_another_kind_is_refused_in_our_words(field, value, sentence):
    with pytest.raises(InputError) as error:
        PlanetConfig(**{"ring_number": 1, field: value})
    assert str(error.value) == sentence


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [("ring_number", "2", 2), ("radius", "1e-3", 1e-3), ("life", "yes", True), ("age", "0.5", 0.5)],
)
def test_numbers_may_be_written_as_text(field, text, value):
    assert getattr(PlanetConfig(**{"ring_number": 1, field: text}), field) == value


def test_truth_may_be_given_where_it_is_asked_for():
    planet = PlanetConfig(ring_number=1, life=True, other={"visited": True})
    assert (planet.life, planet.other) == (True, {"visited": True})


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


def test_merged_yaml_keys_may_be_given_again(tmp_path):
    text = "small: {deep: &deep {<<: &base {cutoff: 4, l_max: 1}, cutoff: 5}}\nmodel: {<<: *deep, l_max: 2}\n"
    (tmp_path / "run.yaml").write_text(text)
    content = read_yaml(tmp_path / "run.yaml")
    assert content["small"]["deep"] == {"cutoff": 5, "l_max": 1}
    assert content["model"] == {"cutoff": 5, "l_max": 2}


def test_overrides_are_yaml_values_by_section():
    overrides = ["train.max_epochs=10", "model.elements=[H, C]", "train.loss=huber", "data.train=a=b.xyz"]
    assert parse_overrides(overrides) == {
        "train": {"max_epochs": 10, "loss": "huber"},
        "model": {"elements": ["H", "C"]},
        "data": {"train": "a=b.xyz"},
    }


@pytest.mark.parametrize(
    "item", ["max_epochs=10", "train.max_epochs", "train.=1", ".x=1", "train.x=[1", "a.b={c: 1, c: 2}", ""]
)
def test_overrides_that_cannot_be_read_are_refused(item):
    with pytest.raises(InputError, match="override"):
        parse_overrides([item])


def test_a_field_given_in_two_overrides_is_refused():
    with pytest.raises(InputError, match=r"overrides 'a\.b=1' and 'a\.b=2' give the same field"):
        parse_overrides(["a.b=1", "a.c=1", "a.b=2"])


def test_a_field_given_without_effect_is_refused():
    said = r"planet\.orders has no effect with kind = rock and moons = \[\]: remove it, or set kind = gas, or some"
    with pytest.raises(InputError, match=said):
        PlanetConfig(ring_number=0, orders=(1,))
    assert PlanetConfig(ring_number=0, orders=(1,), kind="gas").orders == (1,)


def test_what_is_inherited_or_given_before_may_idle():
    inherited = PlanetConfig(ring_number=0, orders=(1,), kind="gas").replace(kind="rock")
    assert PlanetConfig.from_dict(inherited.model_dump()) == inherited
    given = {"ring_number": 0, "orders": (1,), "kind": "rock"}
    assert PlanetConfig.from_dict(given, ["kind"]).orders == (1,)
    for overrides in ([], ["orders"], ["orders", "kind"], ["ring_number"]):
        with pytest.raises(InputError, match=r"orders has no effect"):
            PlanetConfig.from_dict(given, overrides)


def test_did_you_mean_names_the_closest_word_or_all():
    assert did_you_mean("bessle", ["bessel", "gaussian"]) == " Did you mean 'bessel'?"
    assert did_you_mean("xyz", ["b", "a"]) == " Allowed: a, b."
