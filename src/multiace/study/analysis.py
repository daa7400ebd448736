"""All that a study says: its points, what they are compared by, and what each change does to that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from multiace.study.effects import Effect, design, effects, interactions
from multiace.study.measures import BY_THE_CLOCK, OF_CORES, SEEN, Measure, measures
from multiace.study.outcomes import Outcome, outcomes
from multiace.study.statistics import Interval
from multiace.study.store import Row

__all__ = ["Analysis", "Finding", "verdict"]


@dataclass(frozen=True)
class Finding:
    """What a change does to a measure.

    Attributes:
        effect: The change.
        measure: What it is measured by.
        interval: Of the difference.
        reference: Mean of the measure without the change.
    """

    effect: Effect
    measure: Measure
    interval: Interval
    reference: float

    @property
    def percent(self) -> float | None:
        """The difference in percent of the reference; None where that is zero, or what differs is a share itself."""
        scale, unit = self.relative or (0.0, "")
        return scale * self.interval.mean if unit == "%" else None

    @property
    def relative(self) -> tuple[float, str] | None:
        """What a difference is multiplied by as it is told, and the unit then: percent of the reference, or percentage
        points of what is a share itself; None where the reference is zero."""
        if self.measure.quantity.unit == "%":
            return 1.0, "percentage points"
        return (100 / self.reference, "%") if self.reference else None

    @cached_property
    def cells(self) -> dict[str, Interval]:
        """The difference in each combination of the other axes that it is the mean of."""
        found = {words: self.measure.interval(contrast) for words, contrast in self.effect.cells.items()}
        return {words: interval for words, interval in found.items() if interval is not None}

    @property
    def opposite(self) -> list[str]:
        """Combinations in which the difference has the other sign than the mean."""
        return [words for words, cell in self.cells.items() if cell.mean * self.interval.mean < 0]


@dataclass(frozen=True)
class Analysis:
    """The points of a study and their measures.

    Attributes:
        points: With their runs.
        measures: Of all runs that are done.
    """

    points: list[Outcome]
    measures: list[Measure]

    @classmethod
    def of(cls, rows: Sequence[Row], folder: Path) -> Analysis:
        """Gather what the runs of a study have; ``folder`` is the study's."""
        return cls(outcomes(rows), measures(rows, folder))

    @property
    def design(self) -> str:
        """grid, one_at_a_time or path."""
        return design(self.points)

    @property
    def reference(self) -> Outcome:
        """The base, in a grid the first point."""
        return next((point for point in self.points if not point.labels), self.points[0])

    @property
    def folders(self) -> list[str]:
        """Of the points."""
        return [point.folder for point in self.points]

    @property
    def is_compared(self) -> bool:
        """Whether there are two points, without which there are no differences and no ranks."""
        return len(self.points) > 1

    @property
    def is_repeated(self) -> bool:
        """Whether a point has two seeds, without which there are no intervals."""
        return any(len(point.done) > 1 for point in self.points)

    @property
    def main(self) -> list[Measure]:
        """What the summary speaks of; validation errors where there is no other set."""
        main = [measure for measure in self.measures if measure.quantity.is_main]
        titles = ("energy RMSE", "forces RMSE")
        valid = [m for m in self.measures if m.quantity.where == "valid" and m.quantity.title in titles]
        return main or valid

    @property
    def tested(self) -> list[Measure]:
        """All errors and scores but those of sets that training uses, unless there are no others."""
        errors = [measure for measure in self.measures if measure.quantity.kind != "cost"]
        return [measure for measure in errors if measure.quantity.where not in SEEN] or errors

    @property
    def costs(self) -> list[Measure]:
        """What the points cost; training takes time of cores where all runs have it, else time by the clock."""
        costs = [measure for measure in self.measures if measure.quantity.kind == "cost"]
        timed = sum(
            len(of) for cost in costs if cost.quantity.title == OF_CORES for of in cost.values.values()
        )
        other = BY_THE_CLOCK if timed == sum(len(point.done) for point in self.points) else OF_CORES
        return [cost for cost in costs if cost.quantity.title != other]

    @cached_property
    def effects(self) -> list[Finding]:
        """What each change does to each measure."""
        return self._findings(effects)

    @cached_property
    def interactions(self) -> list[Finding]:
        """What two changes do together beyond what both do alone."""
        return self._findings(interactions)

    def _findings(self, of: Callable[[Sequence[Outcome]], list[Effect]]) -> list[Finding]:
        """Effects on each measure, from the runs that have it."""
        results = []
        for measure in self.tested:
            having = [
                replace(p, rows=[row for row in p.rows if row.seed in measure.values.get(p.folder, ())])
                for p in self.points
            ]
            for effect in of(having):
                interval = measure.interval(effect.contrast)
                reference = measure.interval(effect.reference, effect.contrast)
                if interval is not None and reference is not None:
                    results.append(Finding(effect, measure, interval, reference.mean))
        order = {words: k for k, words in enumerate(dict.fromkeys(map(told, of(self.points))))}
        return sorted(results, key=lambda found: order.get(told(found.effect), len(order)))


def told(effect: Effect) -> tuple[str, str]:
    """An effect in words."""
    return effect.change, effect.against


def verdict(interval: Interval | None) -> str:
    """What may be said of a difference: lower, higher, or nothing; that it includes zero only of two runs or more."""
    if interval is None or interval.n < 2:
        return ""
    return ("lower" if interval.high < 0 else "higher") if interval.excludes_zero else "not told apart"
