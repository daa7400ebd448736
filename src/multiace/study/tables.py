"""What ``multiace study`` prints: where the runs stand, and what came out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from multiace.study.analysis import Analysis
from multiace.study.numbers import number, plus_minus
from multiace.study.progress import Progress, pace, seconds_left
from multiace.study.statistics import Interval
from multiace.tables import new_table

__all__ = ["duration", "progress_table", "result_table", "short"]

SHOWN = {"valid_forces_mae": "meV/Å", "valid_energy_per_atom_mae": "meV/atom"}
"""Errors that are shown of a run at work: the first that it has."""


def progress_table(found: Sequence[Progress]) -> Table:
    """A line for each run that is at work or failed, and how many there are of each state."""
    states = Counter(p.state for p in found)
    caption = ", ".join(f"{number} {state}" for state, number in states.items())
    if left := seconds_left(found):
        caption += f"; about {duration(left)} left"
    columns = ("run", "seed", "state", "done", "epoch", "validation MAE", "")
    table = new_table(*columns, right=("seed", "done", "epoch", "validation MAE"), caption=caption)
    for p in found:
        if p.state not in ("waiting", "done") or p.row.error:
            error = next(
                (f"{p.errors[name]:.1f} {unit}" for name, unit in SHOWN.items() if name in p.errors), ""
            )
            done = f"{100 * p.share:.0f} %"
            last = p.row.error or time_left(p)
            cells = (short(p.row.point), str(p.row.seed), p.state, done, str(p.epoch), error, last)
            table.add_row(*map(escape, cells))
    if not table.rows:
        table.show_header, table.box = False, None
    return table


def short(point: str) -> str:
    """The name of a point without the sections of its fields."""
    return re.sub(r"(^|, | with | instead of )(?:model|data|train)\.(?=\w+ = )", r"\1", point)


def time_left(p: Progress) -> str:
    """How long a run will still take if it goes on as it did."""
    return f"{duration(pace(p) - p.seconds)} left" if p.state == "running" and p.share else ""


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def result_table(analysis: Analysis) -> Table:
    """Errors of each point and set: mean and standard deviation over seeds, and the difference to the reference."""
    of_changes = ["difference (95 %)"] * analysis.is_compared
    caption = "± s.d. over seeds (n - 1)"
    if analysis.is_compared:
        caption += (
            "; differences to the first point, paired by seed and structure, with their 95 % intervals; * where these "
            "exclude 0"
        )
    table = new_table(
        *("point", "set", "quantity", "RMSE", "seeds", *of_changes),
        right=("RMSE", "seeds", *of_changes),
        caption=caption,
    )
    for point in analysis.points:
        name = short(point.name)
        for measure in analysis.main:
            quantity, found = measure.quantity, measure.mean(point.folder)
            if quantity.kind == "set" and found is not None:
                change = measure.difference(point.folder, analysis.reference.folder)
                title = f"{quantity.title.removesuffix(' RMSE')} [{quantity.unit}]"
                cells = (name, quantity.where, title, plus_minus(found), str(found.n))
                table.add_row(*map(escape, (*cells, *[difference(change)] * analysis.is_compared)))
                name = ""
    return table


def difference(change: Interval | None) -> str:
    """A difference and its interval."""
    if change is None:
        return ""
    mean, low, high = (number(x, signed=True) for x in (change.mean, change.low, change.high))
    interval = "" if change.n < 2 else f" ({low} .. {high})"
    return f"{mean}{' *' if change.excludes_zero else ''}{interval}"
