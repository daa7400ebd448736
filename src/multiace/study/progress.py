"""How far the runs of a study are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from multiace.study.store import Row, Store

__all__ = ["SUMMARY", "Progress", "progress", "seconds_left"]

SUMMARY = "summary.json"  # which a run has once it is trained

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
    state = row.state
    if state == "running" and not store.is_worked_on(row):
        state = "interrupted"
    if state in ("waiting", "interrupted"):
        state = jobs.get(row.name, state)
    place = store.folder / row.name
    if state == "running" and (place / SUMMARY).is_file():
        state = "testing"
    last = last_line(place / "metrics.csv")
    share = 1.0 if state in ("testing", "done") else nearest(row.config["train"], last)
    errors = {key: value for key, value in last.items() if key.startswith("valid_")}
    return Progress(row, state, share, int(last.get("epoch", 0)), last.get("seconds", 0.0), errors)


def seconds_left(found: Sequence[Progress]) -> float | None:
    """How long all runs will take that are not done [s], with as many at a time as now; None if no length is known.

    Runs are as long as those of their point that are done, else as all that are done, else as those at work seem to be.
    """
    lengths: dict[str, list[float]] = {}
    for p in found:
        if p.state == "done" and p.row.started and p.row.ended:
            lengths.setdefault(p.row.folder, []).append(max(p.row.ended - p.row.started, p.seconds))
    at_work = [p for p in found if p.state in ("running", "testing")]
    seem = [p.seconds / p.share for p in at_work if p.share and p.seconds]
    known = [seconds for of_point in lengths.values() for seconds in of_point] or seem
    if not at_work or not known:
        return None
    open_runs = [p for p in found if p.state not in ("done", "failed")]
    whole = [fmean(lengths.get(p.row.folder, known)) for p in open_runs]
    left = [max(seconds - p.seconds, 0.0) for p, seconds in zip(open_runs, whole, strict=True)]
    return sum(left) / len(at_work)


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
