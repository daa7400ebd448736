"""Sizes of a study file, and the studies that are shipped."""

from pathlib import Path

import pytest
import yaml

from multiace.battery import Battery
from multiace.errors import InputError
from multiace.study.config import StudyConfig
from multiace.study.plan import plan

STUDIES = Path(__file__).parents[2] / "studies"
SHIPPED = sorted(STUDIES.glob("[a-z]-*.yaml"))
SIZES = ("minutes", "hours", "full")


def test_a_size_is_put_over_the_rest(sections, write):
    base = {"model": {"num_layers": 1, "hidden_irreps": "4x0e"}}
    path = write(
        sections
        | {
            "sizes": {
                "small": {"base": base, "seeds": [7], "budget": {"epochs": 1}},
                "large": {"seeds": [1, 2]},
            }
        }
    )
    small, large = StudyConfig.read(path, "small"), StudyConfig.read(path, "large")
    assert (small.seeds, small.budget.epochs, small.base["model"]["num_layers"]) == ((7,), 1, 1)
    assert small.base["model"]["preset"] == "botnet-small"
    assert small.base["data"] == large.base["data"]
    assert (large.seeds, large.base["model"]["num_layers"]) == ((1, 2), 2)


@pytest.mark.parametrize(
    ("sizes", "size", "sentence"),
    [
        ({"small": {}, "large": {}}, None, r"choose one with --size small\|large"),
        ({"small": {}, "large": {}}, "smal", "no size 'smal'. Did you mean 'small'"),
        ({}, "small", "has no sizes: leave --size out"),
        ([1], "small", "must hold fields for each size"),
        ({"small": 3}, "small", "must hold fields for each size"),
        ({"small": {"sedes": [1]}}, "small", "sedes"),
        ({"small": {"base": {"modell": {}}}}, "small", "modell"),
        ({"small": {"base": 3}}, "small", "study.base = 3 must hold sections with fields"),
        ({"small": {"base": {"model": "nequip"}}}, "small", "must hold sections with fields"),
        ({10: {}, 100: {}}, "1", r"no size '1'"),
    ],
)
def test_sizes_that_cannot_be_used_are_refused(sections, write, sizes, size, sentence):
    with pytest.raises(InputError, match=sentence):
        plan(StudyConfig.read(write(sections | {"sizes": sizes}), size))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_studies_can_be_planned_in_all_sizes(path, size):
    study = StudyConfig.read(path, size)
    planned = plan(study)
    assert planned.left_out == {}
    assert len(planned.points) > 2
    assert len(planned.seeds) > 1
    assert set(yaml.safe_load(path.read_text())["sizes"]) == set(SIZES)
    assert study.battery is None or Battery.read(study.battery).files("sets")


@pytest.mark.parametrize(
    ("quick", "whole"),
    [("acac_far/quick.yaml", str(STUDIES / "acac_far/battery.yaml")), ("ethanol_quick.yaml", "ethanol")],
)
def test_quick_batteries_are_the_others_without_dynamics(quick, whole):
    short, long = Battery.read(STUDIES / quick), Battery.read(whole)
    assert (short.sets, short.curves, short.dimers, short.cost) == (
        long.sets,
        long.curves,
        long.dimers,
        long.cost,
    )
    assert long.dynamics
    assert not short.dynamics


def test_eight_studies_are_shipped():
    assert [path.stem[:2] for path in SHIPPED] == [f"{letter}-" for letter in "abcdefgh"]
