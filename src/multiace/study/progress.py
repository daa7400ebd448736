"""How far the runs of a study are."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from multiace.study.store import Row, Store

__all__ = ["Progress", "progress"]


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        row: The run.
        state: waiting, running, interrupted, done or failed.
        share: How much of it is done, 0 to 1.
        epoch: Epochs that are complete.
        errors: Validation errors of the last epoch: columns of ``metrics.csv``.
    """

    row: Row
    state: str
    share: float
    epoch: int
    errors: dict[str, float]


def progress(store: Store, names: list[str] | None = None) -> list[Progress]:
    """Look at all runs, or at those of these names."""
    return [look(store, row) for row in store.rows(names)]


def look(store: Store, row: Row) -> Progress:
    """Look at a run: its state, and the last line of its learning curve."""
    state = row.state
    if state == "running" and not store.is_worked_on(row):
        state = "interrupted"
    last = last_line(store.folder / row.name / "metrics.csv")
    epoch, train = int(last.get("epoch", 0)), row.config["train"]
    share = epoch / train["max_epochs"]
    if train["max_minutes"] is not None:
        share = max(share, last.get("seconds", 0.0) / (60 * train["max_minutes"]))
    errors = {key: value for key, value in last.items() if key.startswith("valid_")}
    return Progress(row, state, 1.0 if state == "done" else min(share, 1.0), epoch, errors)


def last_line(path: Path) -> dict[str, float]:
    """The last row of a table of numbers; empty if there is none."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        return {}
    return {key: float(value) for key, value in (rows[-1] if rows else {}).items() if value}
