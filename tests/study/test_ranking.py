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


def test_a_point_that_is_lower_on_the_same_seeds_is_not_behind():
    found = measure(a=[1.0, 2.0, 3.0], b=[0.9, 1.91, 2.9, 20.0])
    assert found.difference("b", "a").high < 0
    assert ranks(found, ["a", "b"]) == {"a": 1, "b": 1}


def test_points_with_one_run_have_no_rank():
    found = measure(best=[1.0, 1.1], single=[0.1])
    assert ranks(found, ["best", "single", "absent"]) == {}
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


def cost(**points):
    return Measure(Quantity("cost", "", None, "memory", "MB"), measure(**points).values)


def test_only_an_interval_beats_a_point():
    costs = cost(cheap=[1.0] * 3, dear=[2.0] * 3, unsure=[2.0] * 3, single=[3.0])
    found = measure(cheap=[1.0, 1.1, 1.2], dear=[2.0, 2.1, 2.3], unsure=[1.0, 2.0, 1.1], single=[9.0])
    assert beaten(found, costs, list(found.values)) == {"dear"}


def test_a_point_that_costs_more_beats_none():
    found = measure(better=[1.0, 1.1, 1.2], worse=[2.0, 2.1, 2.3])
    points = list(found.values)
    assert beaten(found, cost(better=[6.0, 7.0, 8.0], worse=[5.0, 6.1, 6.9]), points) == set()
    assert beaten(found, cost(better=[5.0, 6.0, 7.0], worse=[5.0, 6.0, 7.0]), points) == {"worse"}


def test_noise_of_costs_beats_no_point():
    found = measure(better=[1.0, 1.1, 1.2], worse=[2.0, 2.1, 2.3])
    points = list(found.values)
    for noise in ([9.0, 4.0, 7.0], [4.0, 9.0, 6.0]):  # the mean is above, and below
        assert beaten(found, cost(better=noise, worse=[6.0, 6.6, 6.9]), points) == set()
    assert beaten(found, cost(better=[5.0, 5.4, 6.1], worse=[6.0, 6.6, 6.9]), points) == {"worse"}
    assert beaten(found, cost(better=[5.0]), points) == set()
