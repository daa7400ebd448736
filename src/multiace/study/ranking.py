"""Which points are best: ranks with ties, and what an error costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from multiace.study.measures import Measure

__all__ = ["beaten", "front", "ranks"]


def ranks(measure: Measure, points: Sequence[str]) -> dict[str, int]:
    """Rank points from the lowest value up.

    All points that are not told apart from the best as higher share its rank, as the interval of the difference says;
    of those that are left the best begins the next one, which is one more than the number of points before. Points with
    fewer than two runs have none, nor has one that is the only one with more; those that share no two seeds with the
    best are not told apart from it.

    Args:
        measure: Less is better.
        points: Folders.
    """
    means = {point: found.mean for point in points if (found := measure.mean(point)) and found.n > 1}
    left = sorted(means, key=means.__getitem__)
    found_ranks: dict[str, int] = {}
    while left:
        best = left[0]
        tied = [point for point in left if not is_higher(measure, point, best)]
        found_ranks |= dict.fromkeys(tied, len(found_ranks) + 1)
        left = [point for point in left if point not in tied]
    return found_ranks if len(found_ranks) > 1 else {}


def is_higher(measure: Measure, point: str, best: str) -> bool:
    """Whether a point is higher than the best, as the interval of the difference says."""
    found = measure.difference(point, best)
    return found is not None and found.low > 0


def front(costs: Mapping[str, float], errors: Mapping[str, float]) -> list[str]:
    """Return the Pareto front, by rising cost: no other point is as good in both and better in one.

    Args:
        costs: By point.
        errors: By point.
    """
    points = [point for point in costs if point in errors]

    def dominates(a: str, b: str) -> bool:
        both = costs[a] <= costs[b] and errors[a] <= errors[b]
        return both and (costs[a] < costs[b] or errors[a] < errors[b])

    found = [point for point in points if not any(dominates(other, point) for other in points)]
    return sorted(found, key=lambda point: (costs[point], errors[point]))


def beaten(measure: Measure, cost: Measure, points: Sequence[str]) -> set[str]:
    """Return points that another one beats: its error is lower, and its cost no higher, as the intervals say.

    Both are intervals of differences of the same seeds. Parameters have no spread, and are compared as they are.

    Args:
        measure: The error.
        cost: The cost.
        points: Folders.
    """
    return {
        point
        for point in points
        for other in points
        if (spent := cost.difference(other, point)) is not None
        and spent.high <= 0
        and (found := measure.difference(other, point)) is not None
        and found.high < 0
    }
