"""Ranks with ties, and what is on a Pareto front."""

import itertools

import numpy as np

from multiace.study.measures import Measure, Quantity
from multiace.study.ranking import beaten, front, ranks

ERROR = Quantity("set", "test", None, "forces RMSE", "meV/Å")


def measure(**points):
    return Measure(ERROR, {point: dict(enumerate(values)) for point, values in points.items()})


def test_points_that_are_not_told_apart_from_the_best_share_its_rank():
    found = measure(
        worst=[9.0, 9.1, 9.2],
        best=[1.0, 1.1, 1.2],
        near=[1.4, 1.1, 1.5],
        second=[5.0, 5.1, 5.2],
        other=[5.1, 5.0, 5.4],
    )
    assert ranks(found, list(found.values)) == {"best": 1, "near": 1, "second": 3, "other": 3, "worst": 5}


def test_a_wide_interval_ties_over_points_between():
    found = measure(best=[1.0, 1.1, 1.2], second=[2.0, 2.1, 2.2], wide=[0.0, 9.0, 2.0])
    assert ranks(found, list(found.values)) == {"best": 1, "wide": 1, "second": 3}


def test_points_with_one_run_have_no_rank():
    found = measure(best=[1.0, 1.1], single=[0.1])
    assert ranks(found, ["best", "single", "absent"]) == {"best": 1}
    assert ranks(measure(a=[1.0], b=[2.0]), ["a", "b"]) == {}


def test_the_front_is_that_of_its_definition():
    rng = np.random.default_rng(0)
    for _ in range(50):
        names = "abcdefgh"
        costs = dict(zip(names, rng.integers(0, 5, len(names)).tolist(), strict=True))  # with ties
        errors = dict(zip(names, rng.integers(0, 5, len(names)).tolist(), strict=True))
        found = front(costs, errors)
        for a in names:
            better = [
                b
                for b in names
                if (costs[b] < costs[a] and errors[b] <= errors[a])
                or (costs[b] <= costs[a] and errors[b] < errors[a])
            ]
            assert (a in found) == (not better)
        for a, b in itertools.pairwise(found):
            assert (costs[a], -errors[a]) <= (costs[b], -errors[b])


def test_a_front_has_points_that_have_both():
    assert front({"a": 1.0, "b": 2.0}, {"b": 1.0, "c": 0.0}) == ["b"]
    assert front({}, {"a": 1.0}) == []


def test_only_an_interval_beats_a_point():
    costs = {"cheap": 1.0, "dear": 2.0, "unsure": 2.0, "single": 3.0}
    found = measure(cheap=[1.0, 1.1, 1.2], dear=[2.0, 2.1, 2.3], unsure=[1.0, 2.0, 1.1], single=[9.0])
    assert beaten(found, costs) == {"dear"}
