"""What ``multiace study`` prints: the plan, where the runs stand, and what came out."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from multiace.study.analysis import Analysis
from multiace.study.plan import Plan
from multiace.study.progress import Progress
from multiace.study.statistics import Interval
from multiace.tables import new_table

__all__ = ["plan_table", "progress_table", "result_table"]

QUANTITIES = ("energy RMSE", "forces RMSE", "stress RMSE")


def plan_table(planned: Plan) -> Table:
    """A line for each point: what it changes."""
    runs = len(planned.runs)
    caption = f"{len(planned.points)} points, {len(planned.seeds)} seeds: {runs} runs"
    minutes = [point.run.train.max_minutes for point in planned.points]
    if all(m is not None for m in minutes):
        caption += (
            f", at most {len(planned.seeds) * sum(filter(None, minutes)) / 60:.1f} h of training in all"
        )
    table = new_table("point", "epochs", "minutes", right=("epochs", "minutes"), caption=caption)
    for point in planned.points:
        train = point.run.train
        table.add_row(
            point.name, str(train.max_epochs), "" if train.max_minutes is None else f"{train.max_minutes:g}"
        )
    return table


def progress_table(found: Sequence[Progress]) -> Table:
    """A line for each run that is at work or failed, and how many there are of each state."""
    states = Counter(p.state for p in found)
    caption = ", ".join(f"{number} {state}" for state, number in states.items())
    columns = ("run", "seed", "state", "done", "epoch", "force MAE [meV/Å]", "")
    table = new_table(*columns, right=("seed", "done", "epoch", "force MAE [meV/Å]"), caption=caption)
    for p in found:
        if p.state in ("running", "interrupted", "failed"):
            mae = p.errors.get("valid_forces_mae")
            error = "" if mae is None else f"{mae:.1f}"
            done = f"{100 * p.share:.0f} %"
            last = p.row.error or time_left(p)
            table.add_row(p.row.point, str(p.row.seed), p.state, done, str(p.epoch), error, last)
    return table


def time_left(p: Progress) -> str:
    """How long a run will still take if it goes on as it did."""
    if p.state != "running" or p.row.started is None or not 0 < p.share < 1:
        return ""
    minutes = (time.time() - p.row.started) * (1 - p.share) / p.share / 60
    return f"{minutes:.0f} min left" if minutes >= 1 else "< 1 min left"


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
