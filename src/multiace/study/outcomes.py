"""What became of each point of a study: its runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from multiace.study.store import Row

__all__ = ["Outcome", "outcomes"]


@dataclass(frozen=True)
class Outcome:
    """A point with its runs.

    Attributes:
        folder: Of the point, which no other point has.
        name: What is changed, in words.
        labels: Label of its value on each axis that it is changed on.
        rows: Its runs.
    """

    folder: str
    name: str
    labels: dict[str, str]
    rows: list[Row]

    @property
    def done(self) -> list[Row]:
        """Runs that have results."""
        return [row for row in self.rows if row.results]


def outcomes(rows: Sequence[Row]) -> list[Outcome]:
    """Gather runs by point, in the order of the runs."""
    found: dict[str, Outcome] = {}
    for row in rows:
        found.setdefault(row.folder, Outcome(row.folder, row.point, row.labels, [])).rows.append(row)
    return list(found.values())
