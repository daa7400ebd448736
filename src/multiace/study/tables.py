"""What ``multiace study`` prints: where the runs stand, and what came out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from multiace.study.analysis import Analysis
from multiace.study.progress import Progress
from multiace.study.statistics import Interval
from multiace.tables import new_table

__all__ = ["duration", "progress_table", "result_table"]

QUANTITIES = ("energy RMSE", "forces RMSE", "stress RMSE")


def progress_table(found: Sequence[Progress]) -> Table:
    """A line for each run that is at work or failed, and how many there are of each state."""
    states = Counter(p.state for p in found)
    caption = ", ".join(f"{number} {state}" for state, number in states.items())
    columns = ("run", "seed", "state", "done", "epoch", "force MAE [meV/Å]", "")
    table = new_table(*columns, right=("seed", "done", "epoch", "force MAE [meV/Å]"), caption=caption)
    for p in found:
        if p.state in ("queued", "starting", "running", "interrupted", "failed") or p.row.error:
            mae = p.errors.get("valid_forces_mae")
            error = "" if mae is None else f"{mae:.1f}"
            done = f"{100 * p.share:.0f} %"
            last = p.row.error or time_left(p)
            table.add_row(p.row.point, str(p.row.seed), p.state, done, str(p.epoch), error, last)
    return table


def time_left(p: Progress) -> str:
    """How long a run will still take if it goes on as it did."""
    return f"{duration(p.seconds * (1 - p.share) / p.share)} left" if p.state == "running" and p.share else ""


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def result_table(analysis: Analysis) -> Table:
    """Errors of each point and set: mean and standard deviation over seeds, and the difference to the reference."""
    table = new_table(
        *("point", "set", "quantity", "RMSE", "s.d.", "runs", "difference", "95 % interval"),
        right=("RMSE", "s.d.", "runs", "difference", "95 % interval"),
        caption="s.d. of the sample (n - 1); differences to the first point, paired by seed and structure; * where the "
        "interval excludes 0",
    )
    for point in analysis.points:
        for measure in analysis.measures:
            quantity, found = measure.quantity, measure.mean(point.folder)
            if quantity.kind == "set" and quantity.title in QUANTITIES and found is not None:
                change = measure.difference(point.folder, analysis.reference.folder)
                deviation = "" if found.n < 2 else f"{found.deviation:.3g}"
                title = f"{quantity.title.removesuffix(' RMSE')} [{quantity.unit}]"
                numbers = (f"{found.mean:.4g}", deviation, str(found.n), *difference(change))
                table.add_row(*map(escape, (point.name, quantity.where, title, *numbers)))
    return table


def difference(change: Interval | None) -> tuple[str, str]:
    """A difference and its interval."""
    if change is None:
        return "", ""
    interval = "" if change.n < 2 else f"{change.low:+.3g} .. {change.high:+.3g}"
    return f"{change.mean:+.3g}{' *' if change.excludes_zero else ''}", interval
