"""How far the runs of a study are."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from multiace.study.store import Row, Store
from multiace.train.folder import RunFolder

__all__ = ["Progress", "pace", "progress", "seconds_left"]

LONGEST_ROW = 4096  # bytes of the end of a learning curve that have its last line


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        row: The run.
        state: waiting, queued, starting, running, testing (it is trained), interrupted, done or failed.
        share: How much of it is done, 0 to 1.
        epoch: Epochs that are complete.
        seconds: Time that they took [s].
        errors: Validation errors of the last epoch: columns of ``metrics.csv``.
    """

    row: Row
    state: str
    share: float
    epoch: int
    seconds: float
    errors: dict[str, float]


def progress(
    store: Store, names: list[str] | None = None, jobs: Mapping[str, str] | None = None
) -> list[Progress]:
    """Look at all runs, or at those of these names.

    Args:
        store: The study.
        names: Of the runs.
        jobs: State of the runs that a batch system has and that are not at work: ``queued`` or ``starting``.
    """
    return [look(store, row, jobs or {}) for row in store.rows(names, results=False)]


def look(store: Store, row: Row, jobs: Mapping[str, str]) -> Progress:
    """Look at a run: its state, and the last line of its learning curve."""
    state, place = row.state, store.folder / row.name
    last, trained = last_line(place / "metrics.csv"), RunFolder(place).finished
    if (state == "waiting" and last and not trained) or (state == "running" and not store.is_worked_on(row)):
        state = "interrupted"
    if state in ("waiting", "interrupted"):
        state = jobs.get(row.name, state)
    if state == "running" and trained:
        state = "testing"
    share = 1.0 if state in ("testing", "done") else nearest(row.config["train"], last)
    errors = {key: value for key, value in last.items() if key.startswith("valid_")}
    return Progress(row, state, share, int(last.get("epoch", 0)), last.get("seconds", 0.0), errors)


def seconds_left(found: Sequence[Progress]) -> float | None:
    """How long all runs will take that are not done [s], with as many at a time as now; None if no length is known.

    Runs are as long as those of their point that are done, else as one at work seems to be, else as all of these.
    """
    at_work = [p for p in found if p.state in ("running", "testing")]
    done, seem = of_points(found, ("done",)), of_points(at_work, ("running", "testing"))
    every = [seconds for lengths in (done, seem) for of_point in lengths.values() for seconds in of_point]
    if not at_work or not every:
        return None

    def left(p: Progress) -> float:
        whole = fmean(done.get(p.row.folder) or seem.get(p.row.folder) or every)
        spent, now = p.seconds, time.time()
        if p in at_work:
            whole, spent = max(whole, pace(p)), max(spent, now - (p.row.started or now))
        return max(whole - spent, 0.0)

    total = sum(left(p) for p in found if p.state not in ("done", "failed"))
    return max(total / len(at_work), *map(left, at_work))


def of_points(found: Sequence[Progress], states: Sequence[str]) -> dict[str, list[float]]:
    """How long the runs of each point take that are in these states, as far as it is known [s]."""
    lengths: dict[str, list[float]] = {}
    for p in found:
        if p.state in states and (seconds := pace(p)):
            lengths.setdefault(p.row.folder, []).append(seconds)
    return lengths


def pace(p: Progress) -> float:
    """How long a run took, or seems to take without its tests [s]; 0 if nothing is known."""
    if p.state == "done" and p.row.started and p.row.ended:
        return max(p.row.ended - p.row.started, p.seconds)
    return p.seconds / p.share if p.share else 0.0


def nearest(train: Mapping[str, Any], last: Mapping[str, float]) -> float:
    """How much of a run is done, 0 to 1, by the bound that is nearest."""
    sizes = {
        "epoch": ("max_epochs", 1),
        "steps": ("max_steps", 1),
        "seconds": ("max_minutes", 60),
        "core_seconds": ("max_core_minutes", 60),
    }
    bounds = {name: size * train[field] for name, (field, size) in sizes.items() if train.get(field)}
    shares = [last.get(name, 0.0) / bound for name, bound in bounds.items()]
    return min(max(shares), 1.0)


def last_line(path: Path) -> dict[str, float]:
    """The last whole row of a table of numbers; empty if there is none. However long it is, its ends alone are read."""
    try:
        with path.open("rb") as file:
            head = file.readline()
            file.seek(max(len(head), path.stat().st_size - LONGEST_ROW))
            rows = file.read().split(b"\n")[:-1]  # what follows the last line break is being written
    except FileNotFoundError:
        return {}
    if not rows:
        return {}
    names, values = head.decode().strip().split(","), rows[-1].decode().split(",")
    return {name: float(value) for name, value in zip(names, values, strict=False) if value}
