"""What the points of a study are compared by: every error, score and cost that their runs have."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from multiace.study.bootstrap import resampled_means
from multiace.study.frame_errors import FrameErrors, kept
from multiace.study.statistics import Interval, mean_interval
from multiace.study.store import Row
from multiace.train.metrics import UNITS

__all__ = [
    "BY_THE_CLOCK",
    "EXACT",
    "HOLE",
    "LOST",
    "MEASURED_BY_THE_CLOCK",
    "OF_CORES",
    "OF_DOMAIN",
    "SEEN",
    "Measure",
    "Quantity",
    "measures",
]

Contrast = Mapping[str, float]
"""Coefficients of points, by their folders: {a: 1, b: -1} is the difference of a to b."""

SEEN = ("train", "valid")
"""Sets that training uses."""

OF_DOMAIN = {"in": "in domain", "out": "out of domain"}
"""What is said of a set or curve."""

HOLE = "depth of the hole"
SCORES = {
    "curve": {
        "rmse": ("energy RMSE", "meV"),
        "forces_rmse": ("forces RMSE", "meV/Å"),
        "barrier_error": ("barrier error", "meV"),
        "dissociation_error": ("dissociation error", "meV"),
        "spurious_extrema": ("spurious extrema", ""),
        "roughness": ("roughness of the error", "meV/x²"),
    },
    "dimer": {"hole": (HOLE, "eV")},
    "dynamics": {"bond_error": ("error of bonds", ""), "pair_error": ("error of pairs", "")},
}
"""Titles and units of the scores of a battery; where they have a sign, their size counts. Others are facts, not better
where they are less, and points are not compared by them."""

LOST = "time lost"
SAME_ERRORS = 1e-4
"""Relative difference of what are the errors of one set, predicted in other batches."""
ROUNDING = 1e-12
"""Differences below this share of what is subtracted are rounding."""

COSTS = {
    "parameters": ("parameters", ""),
    "seconds": ("wall-clock time of training", "s"),
    "core_seconds": ("core time of training", "s"),
    "microseconds_per_atom": ("prediction time", "µs/atom"),
    "memory": ("memory", "MB"),
}
BY_THE_CLOCK, OF_CORES = COSTS["seconds"][0], COSTS["core_seconds"][0]
MEASURED_BY_THE_CLOCK = (BY_THE_CLOCK, COSTS["microseconds_per_atom"][0])
"""Costs that change with what else the machine does."""
EXACT = COSTS["parameters"][0]
"""The cost that is counted; others are measured, and have a spread."""


@dataclass(frozen=True)
class Quantity:
    """One number of each run; of all but costs, less is better.

    Attributes:
        kind: set, curve, dimer, dynamics or cost.
        where: Name of the set, curve, ...; empty for costs.
        domain: in or out of the domain of the training data, None if nobody says.
        title: What it is, such as ``forces RMSE``.
        unit: Its unit, or empty.
    """

    kind: Literal["set", "curve", "dimer", "dynamics", "cost"]
    where: str
    domain: str | None
    title: str
    unit: str

    @property
    def name(self) -> str:
        """What it is, and of what."""
        return f"{self.title}, {self.where}" if self.where else self.title

    @property
    def label(self) -> str:
        """The same with its unit."""
        return f"{self.name} [{self.unit}]" if self.unit else self.name

    @property
    def is_main(self) -> bool:
        """Whether the summary speaks of it: one number of each quantity, not several that say nearly the same."""
        if self.where in SEEN:
            return False
        if self.kind == "set":
            return self.title in ("energy RMSE", "forces RMSE", "stress RMSE")
        if self.kind == "curve":
            return self.title in ("energy RMSE", "barrier error", "dissociation error")
        return self.title == LOST


@dataclass(frozen=True, eq=False)
class Measure:
    """A quantity of all runs.

    Attributes:
        quantity: Which one.
        values: By folder of the point and seed.
        resampled: The same on resamples of the structures, (resamples,), where the errors of the structures are kept.
        structures: How many there are.
    """

    quantity: Quantity
    values: dict[str, dict[int, float]]
    resampled: dict[str, dict[int, np.ndarray]] = field(default_factory=dict)
    structures: int = 0

    def interval(self, contrast: Contrast, among: Contrast | None = None) -> Interval | None:
        """Return Σ c_p x_p over points, from the seeds that they share; None if they share none.

        What seed and structures do to all of these points alike cancels: values of the same seed are subtracted, and
        values of the same resample.

        Args:
            contrast: The coefficients.
            among: Points whose shared seeds are taken; by default these.
        """
        seeds = sorted(set.intersection(*(set(self.values.get(point, ())) for point in among or contrast)))
        if not seeds:
            return None
        terms = [[c * self.values[point][seed] for point, c in contrast.items()] for seed in seeds]
        values = [x if abs(x := sum(of)) > ROUNDING * sum(map(abs, of)) else 0.0 for of in terms]
        if not self.resampled:
            return mean_interval(values)
        each = [[c * self.resampled[point][seed] for point, c in contrast.items()] for seed in seeds]
        resampled = np.mean(np.sum(each, axis=1), axis=0)
        return mean_interval(values, resampled, self.structures)

    def mean(self, point: str) -> Interval | None:
        """That of one point."""
        return self.interval({point: 1.0})

    def difference(self, point: str, reference: str) -> Interval | None:
        """That of two points; None for a point and itself."""
        return None if point == reference else self.interval({point: 1.0, reference: -1.0})


def measures(rows: Sequence[Row], folder: Path) -> list[Measure]:
    """Return all measures of the runs that are done; numbers that are not finite are left out.

    Args:
        rows: The runs.
        folder: Of the study: errors of structures are read from the folders of its runs.
    """
    values: dict[Quantity, dict[str, dict[int, float]]] = {}
    same = dict(of for row in rows for of in same_sets(row.results or {}))
    for row in rows:
        for quantity, value in numbers(row.results or {}, same):
            if math.isfinite(value):
                values.setdefault(quantity, {}).setdefault(row.folder, {})[row.seed] = value
    frames = {(row.folder, row.seed): kept(folder / row.name) for row in rows if row.results}
    found = [with_structures(Measure(quantity, of), frames) for quantity, of in values.items()]
    return sorted(found, key=lambda measure: measure.quantity.where in SEEN)


def numbers(
    results: Mapping[str, Any], same: Mapping[str, tuple[str, str | None]]
) -> Iterator[tuple[Quantity, float]]:
    """Yield every number of a run that points are compared by.

    Args:
        results: Of the run.
        same: What :func:`same_sets` has of all runs; some may be without a battery.
    """
    battery = results.get("battery") or {}
    sets = battery.get("sets", {})
    for test, errors in results.get("errors", {}).items():
        name, domain = same.get(test, (test, None))
        if name not in sets:
            yield from of_set(name, domain, errors)
    for name, found in sets.items():
        yield from of_set(name, found["domain"], found["errors"])
    for name, found in battery.get("curves", {}).items():
        yield from of_scores("curve", name, found["domain"], found["scores"])
    for name, found in battery.get("dimers", {}).items():
        yield from of_scores("dimer", name, None, found["scores"])
    for name, found in battery.get("dynamics", {}).items():
        lost = round(100 * (1 - found["survived"] / found["time"]), 6)  # times are sums of steps
        yield Quantity("dynamics", name, None, LOST, "%"), max(lost, 0.0)
        yield from of_scores("dynamics", name, None, found)
    costs = {name: results.get(name) for name in ("parameters", "seconds", "core_seconds")}
    for cost, value in {**costs, **battery.get("cost", {})}.items():
        if cost in COSTS and value is not None:
            yield Quantity("cost", "", None, *COSTS[cost]), float(value)


def same_sets(results: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, str | None]]]:
    """Yield test sets of the run file that are in the battery too, with their name and domain there."""
    for test, errors in results.get("errors", {}).items():
        for name, found in (results.get("battery") or {}).get("sets", {}).items():
            if is_same_set(test, errors, found):
                yield test, (name, found["domain"])


def is_same_set(name: str, errors: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    """Whether a set of a battery is a test set of the run file: the file's name, and the errors but for rounding."""
    pairs = [
        (errors[q]["rmse"], of["rmse"]) for q, of in found["errors"].items() if q in UNITS and q in errors
    ]
    same = all(math.isclose(*pair, rel_tol=SAME_ERRORS) for pair in pairs)
    return Path(found["file"]).name == Path(name).name and bool(pairs) and same


def of_set(name: str, domain: str | None, errors: Mapping[str, Any]) -> Iterator[tuple[Quantity, float]]:
    """Errors on a set of structures."""
    for quantity, unit in UNITS.items():
        for statistic in ("rmse", "mae"):
            if quantity in errors:
                title = f"{quantity.replace('_', ' ')} {statistic.upper()}"
                yield Quantity("set", name, domain, title, unit), errors[quantity][statistic]


def of_scores(
    kind: Literal["curve", "dimer", "dynamics"], name: str, domain: str | None, scores: Mapping[str, Any]
) -> Iterator[tuple[Quantity, float]]:
    """Scores that apply."""
    for score, (title, unit) in SCORES[kind].items():
        if scores.get(score) is not None:
            yield Quantity(kind, name, domain, title, unit), abs(scores[score])


def with_structures(
    measure: Measure, frames: Mapping[tuple[str, int], Mapping[tuple[str, str], FrameErrors]]
) -> Measure:
    """Add the resamples, if the errors of the structures of all runs are kept and are those of the results."""
    title, _, statistic = measure.quantity.title.rpartition(" ")
    runs = [(point, seed) for point, of in measure.values.items() for seed in of]
    found = [frames[run].get((measure.quantity.where, title.replace(" ", "_"))) for run in runs]
    errors = [of for of in found if of is not None]
    if measure.quantity.kind != "set" or statistic not in ("RMSE", "MAE") or len(errors) < len(runs):
        return measure
    count = errors[0].count
    if any(not np.array_equal(of.count, count) for of in errors) or (count > 0).sum() < 2:
        return measure
    labelled = count > 0
    sums = np.array([of.squared if statistic == "RMSE" else of.absolute for of in errors])[:, labelled]
    root = 0.5 if statistic == "RMSE" else 1.0
    whole = 1e3 * (sums.sum(1) / count.sum()) ** root
    if not np.allclose(whole, [measure.values[point][seed] for point, seed in runs], rtol=1e-3, atol=1e-3):
        return measure  # the files are others than when the run was tested
    resampled: dict[str, dict[int, np.ndarray]] = {}
    means = 1e3 * resampled_means(sums, count[labelled].astype(float)) ** root
    for (point, seed), of_run in zip(runs, means, strict=True):
        resampled.setdefault(point, {})[seed] = of_run
    return Measure(measure.quantity, measure.values, resampled, int(labelled.sum()))
