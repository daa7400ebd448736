"""Effects and interactions of planted studies."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from multiace.study.analysis import Analysis, verdict
from multiace.study.effects import design, effects, interactions
from multiace.study.measures import Measure, Quantity
from multiace.study.outcomes import Outcome
from multiace.study.store import Row

ERROR = Quantity("set", "test", None, "forces RMSE", "meV/Å")
SEEDS = (1, 2, 3, 4)


def point(labels, seeds=SEEDS):
    name = ", ".join(f"{axis} = {label}" for axis, label in labels.items()) or "base"
    rows = [
        Row(f"{name}/seed-{seed}", name, labels, seed, {}, "done", 1, None, None, None, {"errors": {}})
        for seed in seeds
    ]
    return Outcome(name, name, labels, rows)


def grid(**axes):
    return [point(dict(zip(axes, labels, strict=True))) for labels in product(*axes.values())]


def analysis(points, value):
    """What seeds do is the same for all points, but for a little noise."""
    rng = np.random.default_rng(0)
    values = {
        p.folder: {row.seed: 5.0 * row.seed + value(p.labels) + rng.normal(scale=0.01) for row in p.done}
        for p in points
        if p.done
    }
    return Analysis(points, [Measure(ERROR, values)])


def test_the_design_is_seen_from_the_labels():
    assert design(grid(a="01", b="01")) == "grid"
    assert design([point({}), point({"a": "1"}), point({"b": "1"})]) == "one_at_a_time"
    assert design([point({}), point({"a": "1"}), point({"a": "1", "b": "1"})]) == "path"


def test_main_effects_of_an_additive_grid_are_the_planted_ones():
    found = analysis(
        grid(a="01", b="012", c="01"),
        lambda at: 3 * (at["a"] == "1") + 2 * int(at["b"]) - 1 * (at["c"] == "1"),
    )
    means = {(f.effect.change, f.effect.against): (f.effect.averaged, f.interval.mean) for f in found.effects}
    planted = {
        ("a = 1", "0"): (6, 3),
        ("b = 1", "0"): (4, 2),
        ("b = 2", "0"): (4, 4),
        ("b = 2", "1"): (4, 2),
        ("c = 1", "0"): (6, -1),
    }
    assert {change: averaged for change, (averaged, _) in means.items()} == {
        change: averaged for change, (averaged, _) in planted.items()
    }
    for change, (_, mean) in planted.items():
        assert means[change][1] == pytest.approx(mean, abs=0.03)
    assert all(f.interval.excludes_zero for f in found.effects)
    reference = next(f for f in found.effects if f.effect.change == "a = 1").reference
    assert reference == pytest.approx(12.5 + 2 - 0.5, abs=0.03)


def test_an_additive_grid_has_no_interactions():
    found = analysis(
        grid(a="01", b="01", c="01"), lambda at: 3 * int(at["a"]) + 2 * int(at["b"])
    ).interactions
    assert [f.effect.change for f in found] == ["a = 1 with b = 1", "a = 1 with c = 1", "b = 1 with c = 1"]
    assert all(abs(f.interval.mean) < 0.04 for f in found)
    assert sum(f.interval.excludes_zero for f in found) <= 1


def test_an_interaction_is_found_with_its_size():
    found = analysis(grid(a="01", b="01", c="01"), lambda at: 3 * int(at["a"]) * int(at["b"]) + int(at["c"]))
    (a_and_b,) = [f for f in found.interactions if f.effect.change == "a = 1 with b = 1"]
    assert a_and_b.effect.change == "a = 1 with b = 1"
    assert a_and_b.effect.averaged == 2
    assert a_and_b.interval.mean == pytest.approx(3, abs=0.04)
    assert a_and_b.interval.excludes_zero
    effects = {f.effect.change: f.interval.mean for f in found.effects}
    assert effects["a = 1"] == pytest.approx(1.5, abs=0.03)  # the mean over b = 0, 1


def test_contrasts_sum_to_zero():
    points = grid(a="012", b="012")
    for effect in effects(points) + interactions(points):
        assert sum(effect.contrast.values()) == pytest.approx(0)
        assert sum(effect.reference.values()) == pytest.approx(1)


def test_combinations_that_lack_runs_are_left_out_of_the_mean():
    points = grid(a="01", b="01")
    points[3] = Outcome(points[3].folder, points[3].name, points[3].labels, [])
    points[0] = point(points[0].labels)
    found = analysis(points, lambda at: 3 * int(at["a"]) + 2 * int(at["b"]))
    (a,) = [f for f in found.effects if f.effect.change == "a = 1"]
    assert a.effect.averaged == 1
    assert a.interval.mean == pytest.approx(3, abs=0.04)
    assert found.interactions == []


def test_a_point_with_one_run_does_not_take_the_intervals_of_others():
    points = grid(a="01", b="01")
    points[3] = point(points[3].labels, seeds=(1,))
    found = analysis(points, lambda at: 3 * int(at["a"]) + 2 * int(at["b"]))
    assert all(f.interval.n == 4 for f in found.effects)


def test_a_number_that_a_point_lacks_takes_no_effect_from_the_others():
    points = grid(a="01", b="01", c="01")
    whole = analysis(points, lambda at: 3 * int(at["a"]) + int(at["b"]))
    values = {p: dict(of) for p, of in whole.measures[0].values.items()}
    last = points[-1].folder
    for rest in ({}, {1: values[last][1]}):
        found = Analysis(points, [Measure(ERROR, values | {last: rest})]).effects
        averaged = {f.effect.change: (f.effect.averaged, f.interval.n) for f in found}
        assert averaged == {"a = 1": (3, 4), "b = 1": (3, 4), "c = 1": (3, 4)}
    some = Analysis(points, [*whole.measures, Measure(replace(ERROR, where="hot"), values | {last: {}})])
    assert [(f.effect.change, f.measure.quantity.where) for f in some.effects] == [
        (change, where) for change in ("a = 1", "b = 1", "c = 1") for where in ("test", "hot")
    ]


@pytest.mark.parametrize(
    ("seeds", "n"),
    [
        ([(1, 2), (1, 3), (1, 3), (1, 3)], 2),  # the pair that most share
        ([(1, 2), (1, 2), (1, 3), (1, 4)], 2),  # by half of them
        ([(1, 2), (1, 3), (1, 4), (1, 5)], 1),  # none is shared by two: one seed, and no interval
    ],
)
def test_effects_stay_while_seeds_are_missing(seeds, n):
    points = [point(p.labels, of) for p, of in zip(grid(a="01", b="01"), seeds, strict=True)]
    found = analysis(points, lambda at: 3 * int(at["a"])).effects
    assert {f.interval.n for f in found} == {n}


def test_points_of_other_seeds_leave_intervals_to_the_rest():
    points = grid(a="01", b="01")
    points[3] = point(points[3].labels, seeds=(1, 5, 6))
    found = analysis(points, lambda at: 3 * int(at["a"]))
    assert all(f.interval.n == 4 for f in found.effects)


def test_the_first_value_of_an_axis_stays_the_first_without_runs_of_the_first_point():
    points = grid(a="01", b="012")
    points[0] = point(points[0].labels, seeds=())
    found = analysis(points, lambda at: 3 * int(at["b"])).effects
    assert [(f.effect.change, f.effect.against) for f in found] == [
        ("a = 1", "0"),
        ("b = 1", "0"),
        ("b = 2", "0"),
        ("b = 2", "1"),
    ]


def test_percent_is_of_the_seeds_of_the_difference():
    points = [point({}, (1, 2, 3)), point({"a": "1"}, (1, 2))]
    values = {"base": {1: 10.0, 2: 10.2, 3: 100.0}, "a = 1": {1: 9.0, 2: 9.1}}
    (found,) = Analysis(points, [Measure(ERROR, values)]).effects
    assert found.percent == pytest.approx(-100 * 1.05 / 10.1)


def test_a_study_of_one_seed_has_effects_without_claims():
    points = [point(p.labels, seeds=(1,)) for p in grid(a="01", b="01")]
    found = analysis(points, lambda at: 3 * int(at["a"]))
    assert [f.interval.n for f in found.effects] == [1, 1]
    assert not any(f.interval.excludes_zero for f in found.effects + found.interactions)
    assert {verdict(f.interval) for f in found.effects} == {""}


def test_changes_alone_are_compared_with_the_base():
    points = [point({}), point({"a": "1"}), point({"a": "2"}), point({"b": "1"})]
    found = analysis(points, lambda at: 3 * int(at.get("a", 0)) - int(at.get("b", 0)))
    assert found.reference.name == "base"
    changes = {f.effect.change: (f.effect.against, round(f.interval.mean, 1)) for f in found.effects}
    assert changes == {"a = 1": ("base", 3.0), "a = 2": ("base", 6.0), "b = 1": ("base", -1.0)}
    assert found.interactions == []


@pytest.mark.parametrize(
    ("labels", "steps"),
    [
        (["1", "2", "4"], [("2", "1"), ("4", "1"), ("4", "2")]),
        (["1e-3", "0.01"], [("0.01", "1e-3")]),
        (["0", "x", "1"], [("x", "0"), ("1", "0")]),
    ],
)
def test_numbers_of_an_axis_are_also_compared_with_the_one_before(labels, steps):
    found = effects(grid(a=labels, b="01"))
    assert [(f.change, f.against) for f in found] == [(f"a = {to}", at) for to, at in steps] + [
        ("b = 1", "0")
    ]
    alone = effects([point({}), *(point({"a": label}) for label in labels), point({"b": "1"})])
    assert [f.change for f in alone if f.against == "base"] == [
        *(f"a = {label}" for label in labels),
        "b = 1",
    ]
    successive = [(labels[k + 1], labels[k]) for k in (0, 1)] if labels == ["1", "2", "4"] else []
    assert [(f.change, f.against) for f in alone if f.against != "base"] == [
        (f"a = {to}", at) for to, at in successive
    ]


def test_cells_of_a_mean_are_named_by_the_other_axes():
    found = analysis(grid(a="01", b="012"), lambda at: (int(at["b"]) - 0.5) * int(at["a"]))
    a = found.effects[0]
    assert {words: round(cell.mean, 1) for words, cell in a.cells.items()} == {
        "b = 0": -0.5,
        "b = 1": 0.5,
        "b = 2": 1.5,
    }
    assert a.opposite == ["b = 0"]
    assert [f.cells.keys() for f in found.interactions] == [{""}] * 2


def test_steps_of_a_path_are_compared_with_the_point_before():
    points = [
        point({}),
        point({"a": "1"}),
        point({"a": "1", "b": "1"}),
        point({"a": "1", "b": "1", "c": "1"}),
    ]
    found = analysis(points, lambda at: 3 * ("a" in at) - 2 * ("b" in at) + ("c" in at))
    changes = {f.effect.change: (f.effect.against, round(f.interval.mean, 1)) for f in found.effects}
    before = "the point before"
    assert changes == {"a = 1": ("base", 3.0), "b = 1": (before, -2.0), "c = 1": (before, 1.0)}


def test_a_step_beside_a_point_without_runs_is_left_out():
    points = [point({}), point({"a": "1"}, seeds=()), point({"a": "1", "b": "1"})]
    assert analysis(points, lambda at: 3 * ("a" in at)).effects == []
