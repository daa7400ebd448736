"""What runs are compared by: all numbers that they have, and no others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from multiace.study.analysis import Analysis
from multiace.study.frame_errors import FILE
from multiace.study.measures import measures, numbers, same_sets
from multiace.study.store import Row
from tests.study.synthetic import write_study

ERRORS = {"forces": {"rmse": 3.0, "mae": 2.0, "count": 9, "spread": 100.0}}


def found(results):
    return {
        quantity.label: (quantity.domain, value)
        for quantity, value in numbers(results, dict(same_sets(results)))
    }


def test_a_run_without_battery_has_its_errors_and_costs():
    results = {"errors": {"test.xyz": ERRORS | {"elements": {}}}, "parameters": 10, "seconds": 2.5}
    assert found(results) == {
        "forces RMSE, test.xyz [meV/Å]": (None, 3.0),
        "forces MAE, test.xyz [meV/Å]": (None, 2.0),
        "parameters": (None, 10.0),
        "wall-clock time of training [s]": (None, 2.5),
    }
    assert found({"errors": {}}) == {}


def test_sets_of_the_battery_have_a_domain_and_come_once():
    battery = {"sets": {"hot": {"domain": "out", "file": "/data/test.xyz", "errors": ERRORS}}}
    assert found({"errors": {"test.xyz": ERRORS}, "battery": battery}) == {
        "forces RMSE, hot [meV/Å]": ("out", 3.0),
        "forces MAE, hot [meV/Å]": ("out", 2.0),
    }
    other = {"forces": ERRORS["forces"] | {"rmse": 3.1}}  # another file of that name
    both = found({"errors": {"test.xyz": other}, "battery": battery})
    assert (both["forces RMSE, test.xyz [meV/Å]"], len(both)) == ((None, 3.1), 4)


def test_a_set_is_the_same_in_runs_with_and_without_a_battery(tmp_path):
    battery = {"sets": {"hot": {"domain": "out", "file": "/data/test.xyz", "errors": ERRORS}}}
    tested = {"errors": {"test.xyz": ERRORS}, "battery": battery}
    alone = {"errors": {"test.xyz": {"forces": ERRORS["forces"] | {"rmse": 7.0}}}}
    rows = [
        Row(f"base/seed-{seed}", "base", {}, seed, {}, "done", 1, None, None, None, results)
        for seed, results in enumerate((alone, tested))
    ]
    rmse, mae = measures(rows, tmp_path)
    assert (rmse.quantity.where, rmse.quantity.domain, rmse.values) == (
        "hot",
        "out",
        {"base": {0: 7.0, 1: 3.0}},
    )
    assert mae.quantity.where == "hot"


def test_scores_are_sizes_and_those_that_do_not_apply_are_none():
    scores = {"rmse": 3.0, "barrier_error": -4.0, "spurious_extrema": 0}
    dimer = {"repulsive": True, "lowest": -3.0, "extrema": 1, "hole": 0.2}
    battery = {"curves": {"scan": {"domain": "in", "scores": scores}}, "dimers": {"C-H": {"scores": dimer}}}
    assert found({"errors": {}, "battery": battery}) == {
        "energy RMSE, scan [meV]": ("in", 3.0),
        "barrier error, scan [meV]": ("in", 4.0),
        "spurious extrema, scan": ("in", 0),
        "depth of the hole, C-H [eV]": (None, 0.2),
    }


def test_summary_speaks_of_one_number_of_each_thing():
    scores = dict.fromkeys(("rmse", "forces_rmse", "barrier_error", "dissociation_error", "roughness"), 3.0)
    curve = {"scan": {"domain": "out", "scores": scores}}
    dynamics = {"500 K": {"time": 2.0, "survived": 1.5, "bond_error": 0.1}}
    results = {"errors": {"valid": ERRORS, "test.xyz": ERRORS}, "parameters": 12}
    results["battery"] = {"curves": curve, "dynamics": dynamics}
    assert [quantity.name for quantity, _ in numbers(results, {}) if quantity.is_main] == [
        "forces RMSE, test.xyz",
        "energy RMSE, scan",
        "barrier error, scan",
        "dissociation error, scan",
        "time lost, 500 K",
    ]


@pytest.mark.parametrize("survived", [0.1 + 0.2 + 0.4, 0.70004])
def test_dynamics_that_does_not_fail_loses_nothing(survived):
    battery = {"dynamics": {"500 K": {"time": 0.7, "survived": survived}}}
    assert found({"errors": {}, "battery": battery}) == {"time lost, 500 K [%]": (None, 0.0)}


def test_dynamics_and_costs_of_the_battery():
    dynamics = {"time": 2.0, "survived": 1.5, "bond_error": 0.1}
    cost = {"parameters": 12, "microseconds_per_atom": 40.0, "memory": None, "threads": 2}
    battery = {"dynamics": {"500 K": dynamics}, "cost": cost}
    assert found({"errors": {}, "parameters": 12, "battery": battery}) == {
        "time lost, 500 K [%]": (None, 25.0),
        "error of bonds, 500 K": (None, 0.1),
        "parameters": (None, 12.0),
        "prediction time [µs/atom]": (None, 40.0),
    }


def test_numbers_that_are_not_finite_are_left_out(tmp_path):
    def row(seed, rmse):
        errors = {"test.xyz": {"forces": {"rmse": rmse, "mae": 1.0}}}
        return Row(f"base/seed-{seed}", "base", {}, seed, {}, "done", 1, None, None, None, {"errors": errors})

    rmse, mae = measures([row(1, 2.0), row(2, float("nan")), row(3, float("inf"))], tmp_path)
    assert rmse.values == {"base": {1: 2.0}}
    assert set(mae.values["base"]) == {1, 2, 3}
    assert rmse.mean("base").n == 1


@pytest.fixture
def store(tmp_path):
    return write_study(tmp_path / "study", battery=False)


def test_structures_are_resampled_where_all_runs_keep_them(store):
    by_name = {measure.quantity.name: measure for measure in measures(store.rows(), store.folder)}
    measure = by_name["forces RMSE, near.xyz"]
    assert measure.structures == 60
    point, seed = store.rows()[0].folder, 1
    resampled = measure.resampled[point][seed]
    assert resampled.mean() == pytest.approx(measure.values[point][seed], rel=0.02)
    assert 0 < resampled.std() < 0.2 * resampled.mean()
    assert by_name["forces RMSE, train"].structures == 0
    assert list(by_name)[-1].endswith(("train", "valid"))


@pytest.mark.parametrize("damage", ["gone", "other errors", "other labels"])
def test_structures_are_not_resampled_where_they_cannot_be_compared(store, damage):
    path = store.folder / store.rows()[4].name / FILE
    with np.load(path) as file:
        arrays = dict(file)
    path.unlink()
    if damage == "other errors":
        arrays["near.xyz|forces|squared"] *= 1.1
        np.savez(path, **arrays)
    elif damage == "other labels":
        arrays["near.xyz|forces|count"][0] += 1
        np.savez(path, **arrays)
    by_name = {measure.quantity.name: measure for measure in measures(store.rows(), store.folder)}
    assert by_name["forces RMSE, near.xyz"].structures == 0
    assert by_name["energy RMSE, near.xyz"].structures == (0 if damage == "gone" else 60)


@pytest.mark.parametrize(
    ("with_cores", "title"), [(12, "core time of training"), (11, "wall-clock time of training")]
)
def test_training_costs_time_of_cores_where_all_runs_have_it(store, with_cores, title):
    rows = [
        replace(row, results=row.results | ({"core_seconds": 50.0} if k < with_cores else {}))
        for k, row in enumerate(store.rows())
    ]
    found = Analysis.of(rows, store.folder).costs
    assert [cost.quantity.title for cost in found] == ["parameters", title]
