"""What ``multiace study run --plan`` prints: the points, and what their runs cost."""

from __future__ import annotations

import heapq
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from multiace.machine import cores
from multiace.study.config import Budget
from multiace.study.plan import Plan
from multiace.study.tables import duration, short
from multiace.tables import new_table
from multiace.train.route import by_gradients

if TYPE_CHECKING:
    from multiace.study.estimate import Estimate

__all__ = ["plan_table"]

BOUNDS = tuple(Budget.model_fields)


def plan_table(
    planned: Plan, found: Sequence[Estimate] | None = None, slots: int = 1, threads: int = 1
) -> Table:
    """A line for each point: what it changes, its bounds, and what a run of it costs where that is estimated.

    Args:
        planned: The study.
        found: Estimates of its points.
        slots: How many runs there are at a time.
        threads: Of each.
    """
    points, seeds = planned.points, len(planned.seeds)
    caption = f"{len(points)} point{'s' * (len(points) > 1)}, {seeds} seed{'s' * (seeds > 1)}: {len(planned.runs)} runs"
    if found is None:
        trained = [point.run.train for point in points if by_gradients(point.run)]
        bounds = [name for name in BOUNDS if any(getattr(train, f"max_{name}") for train in trained)]
        titles = [name.replace("_", " ") for name in bounds] or ["fit"]
        table = new_table("point", *titles, right=titles, caption=caption)
        for point in points:
            solved = not by_gradients(point.run)
            values = (getattr(point.run.train, f"max_{name}") for name in bounds)
            cells = ["solved"] if solved else ["" if value is None else f"{value:,g}" for value in values]
            table.add_row(escape(short(point.name)), *cells)
        return table
    columns = ("parameters", "epochs", "steps", "a run", "all seeds", "memory")
    table = new_table(
        "point", *columns, right=columns, caption=f"{caption}; {told(planned, found, slots, threads)}"
    )
    for point, estimate in zip(points, found, strict=True):
        length, seconds = estimate.length, estimate.seconds
        cells = ["not estimated", "", "", "", ""]
        if length is not None and seconds is not None:
            memory = "" if estimate.memory is None else f"{estimate.memory / 1e9:.2f} GB"
            cells = [
                f"{length.epochs:,}",
                f"{length.steps:,}",
                duration(seconds),
                duration(seeds * seconds),
                memory,
            ]
        table.add_row(escape(short(point.name)), f"{estimate.parameters:,}", *cells)
    return table


def told(planned: Plan, found: Sequence[Estimate], slots: int, threads: int) -> str:
    """How long a study takes, and how that is known."""
    seconds = [estimate.seconds for estimate in found if estimate.seconds is not None]
    rest = len(found) - len(seconds)
    without = f", without those of {rest} points that are solved for" if rest else ""
    total = duration(wall_clock(seconds * len(planned.seeds), slots))
    each = "1 thread" if threads == 1 else f"{threads} threads"
    return (
        f"about {total} with {slots} at a time, {each} each{without}. Estimated from real steps and predictions of "
        "each point, timed alone on this machine: runs beside each other are slower, runs that stop early shorter. "
        "Time is from the start of a process to its tests on all sets and on the battery, with dynamics to their end, "
        "without verification; memory the most that training needs at once. "
        f"Load of this machine: {os.getloadavg()[0]:.1f} on {cores()} cores, which the times have in them."
    )


def wall_clock(seconds: Sequence[float], slots: int) -> float:
    """Return the time that runs take in their order, each where a slot is free first [s]."""
    free = [0.0] * slots
    for one in seconds:
        heapq.heapreplace(free, free[0] + one)
    return max(free)
