"""What each change of a study does, as contrasts of its points: alone, one after another, or averaged over the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations, pairwise

from multiace.study.outcomes import Outcome

__all__ = ["Effect", "axes", "design", "effects", "interactions", "repeated", "rest", "successive"]


@dataclass(frozen=True)
class Effect:
    r"""A change, and the points that tell what it does.

    Attributes:
        change: What is changed, in words.
        against: What it is compared with.
        contrast: Coefficients of points, by their folders; they sum to zero.
        reference: Those of the points that it is compared with, which sum to one.
        cells: In a grid, contrasts that it is the mean of: by the combination of the other axes, in words.
    """

    change: str
    against: str
    contrast: dict[str, float]
    reference: dict[str, float]
    cells: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def averaged(self) -> int:
        """How many combinations of the other axes it is the mean of."""
        return max(len(self.cells), 1)


def design(points: Sequence[Outcome]) -> str:
    """The design of a study: only a grid changes something in every point, only a path several things at once."""
    if all(point.labels for point in points):
        return "grid"
    return "path" if any(len(point.labels) > 1 for point in points) else "one_at_a_time"


def effects(points: Sequence[Outcome]) -> list[Effect]:
    """Return what each change does.

    In a grid the main effects: the change from the first value of an axis to another, as the mean over all combinations
    of the other axes of which both points have runs; in a path each step; else the difference to the base. Values of an
    axis that are three numbers or more are also compared with the one before.
    """
    kind = design(points)
    if kind == "grid":
        return main_effects(points)
    found = []
    before = next(point for point in points if not point.labels)
    for point in points:
        if point.labels:
            axis, label = list(point.labels.items())[-1]
            contrast = {point.folder: 1.0, before.folder: -1.0}
            against = "base" if not before.labels else "the point before"
            found.append(Effect(f"{axis} = {label}", against, contrast, {before.folder: 1.0}))
            before = point if kind == "path" else before
    return found if kind == "path" else found + steps_from_the_base(points)


def steps_from_the_base(points: Sequence[Outcome]) -> list[Effect]:
    """Differences of numbers on an axis, which are changed alone, to the one before."""
    by_labels = {key(point.labels): point.folder for point in points}
    found = []
    for axis, labels in axes(points).items():
        for before, label in successive(labels):
            a, b = (by_labels[key({axis: value})] for value in (label, before))
            found.append(Effect(f"{axis} = {label}", before, {a: 1.0, b: -1.0}, {b: 1.0}))
    return found


def successive(labels: Sequence[str]) -> list[tuple[str, str]]:
    """Each value with the next one, if they are three numbers or more."""
    try:
        return list(pairwise(labels)) if len(list(map(float, labels))) > 2 else []
    except ValueError:
        return []


def repeated(points: Sequence[Outcome]) -> list[Outcome]:
    """Points with runs of the two seeds that most of them share: others would take all intervals away.

    Where no two seeds are shared by half of the points that have runs, those with the seed that most have.
    """
    seeds = [sorted(row.seed for row in point.done) for point in points]
    for size in (2, 1):
        counts = Counter(of for one in seeds for of in combinations(one, size))
        (shared, count), *_ = counts.most_common(1) or [((), 0)]
        if 2 * count >= sum(map(bool, seeds)):
            break
    return [point for point, one in zip(points, seeds, strict=True) if one and {*shared} <= {*one}]


def main_effects(points: Sequence[Outcome]) -> list[Effect]:
    """Mean differences of values of an axis, all other axes being equal."""
    values, points = axes(points), repeated(points)
    by_labels = {key(point.labels): point.folder for point in points}
    found = []
    for axis, labels in values.items():
        first, *others = labels
        for before, label in [*((first, other) for other in others), *successive(labels)[1:]]:
            pairs = {
                rest(point, axis): (point.folder, by_labels[other])
                for point in points
                if point.labels[axis] == label and (other := key(point.labels | {axis: before})) in by_labels
            }
            if pairs:
                cells = {words: {a: 1.0, b: -1.0} for words, (a, b) in pairs.items()}
                reference = mean([{b: 1.0} for _, b in pairs.values()])
                contrast = mean(list(cells.values()))
                found.append(Effect(f"{axis} = {label}", before, contrast, reference, cells))
    return found


def interactions(points: Sequence[Outcome]) -> list[Effect]:
    r"""Return two-way interactions of a grid: how much more or less a change does where another one is made too.

    .. math:: (x_{ab} - x_{0b}) - (x_{a0} - x_{00})

    with 0 the first value of each axis; the mean over the combinations of all further axes that have these four points.
    Where it is zero, the effects of both add up.
    """
    if design(points) != "grid":
        return []
    values, points = axes(points), repeated(points)
    by_labels = {key(point.labels): point.folder for point in points}
    found = []
    for (A, (a0, *of_A)), (B, (b0, *of_B)) in combinations(values.items(), 2):
        for a, b in ((a, b) for a in of_A for b in of_B):
            squares = {}
            for point in points:
                if point.labels[A] == a and point.labels[B] == b:
                    corners = [key(point.labels | c) for c in ({}, {A: a0}, {B: b0}, {A: a0, B: b0})]
                    if all(corner in by_labels for corner in corners):
                        squares[rest(point, A, B)] = [by_labels[corner] for corner in corners]
            if squares:
                cells = {
                    words: dict(zip(corners, (1.0, -1.0, -1.0, 1.0), strict=True))
                    for words, corners in squares.items()
                }
                reference = mean([{corners[3]: 1.0} for corners in squares.values()])
                words, contrast = f"{A} = {a} with {B} = {b}", mean(list(cells.values()))
                found.append(Effect(words, "both alone", contrast, reference, cells))
    return found


def rest(point: Outcome, *without: str) -> str:
    """Labels of a point on all other axes, in words."""
    return ", ".join(f"{axis} = {label}" for axis, label in point.labels.items() if axis not in without)


def key(labels: dict[str, str]) -> frozenset:
    """Labels without their order."""
    return frozenset(labels.items())


def axes(points: Sequence[Outcome]) -> dict[str, list[str]]:
    """The values of each axis, in the order of the points."""
    found: dict[str, dict[str, None]] = {}
    for point in points:
        for axis, label in point.labels.items():
            found.setdefault(axis, {})[label] = None
    return {axis: list(labels) for axis, labels in found.items()}


def mean(contrasts: Sequence[dict[str, float]]) -> dict[str, float]:
    """Their mean, coefficient by coefficient."""
    found: dict[str, float] = {}
    for contrast in contrasts:
        for point, c in contrast.items():
            found[point] = found.get(point, 0.0) + c / len(contrasts)
    return found
