"""What ``multiace study`` prints: the plan, where the runs stand, and what came out."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from rich.table import Table

from multiace.study.plan import Plan
from multiace.study.progress import Progress
from multiace.study.statistics import Interval, mean_interval, paired_difference
from multiace.study.store import Row
from multiace.tables import new_table

__all__ = ["plan_table", "progress_table", "result_table"]

QUANTITIES = {"energy": "energy [meV]", "forces": "forces [meV/Å]", "stress": "stress [meV/Å³]"}


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


def result_table(rows: Sequence[Row], statistic: str = "rmse") -> Table:
    """Errors of each point and set: mean and standard deviation over seeds, and the difference to the first point."""
    table = new_table(
        *("point", "set", "quantity", statistic.upper(), "s.d.", "runs", "difference", "95 % interval"),
        right=(statistic.upper(), "s.d.", "runs", "difference", "95 % interval"),
        caption="s.d. of the sample (n - 1); differences to the first point, paired by seed, with Student's t; * where "
        "the interval excludes 0",
    )
    done = [row for row in rows if row.results is not None]
    points = {row.folder: row.point for row in rows}
    first = next(iter(points), None)
    for folder, point in points.items():
        for set_name in sets(done):
            for quantity, title in QUANTITIES.items():
                values = of_point(done, folder, set_name, quantity, statistic)
                if not values:
                    continue
                found = mean_interval(list(values.values()))
                reference = of_point(done, first, set_name, quantity, statistic)
                change = None if folder == first else paired_difference(values, reference)
                deviation = "" if found.n < 2 else f"{found.deviation:.3g}"
                table.add_row(
                    point, set_name, title, f"{found.mean:.4g}", deviation, str(found.n), *difference(change)
                )
    return table


def sets(rows: Sequence[Row]) -> list[str]:
    """Names of the sets that runs were tested on."""
    return list(dict.fromkeys(name for row in rows for name in (row.results or {})["errors"]))


def of_point(
    rows: Sequence[Row], folder: str | None, set_name: str, quantity: str, statistic: str
) -> dict[int, float]:
    """An error of each seed of a point."""
    return {
        row.seed: row.results["errors"][set_name][quantity][statistic]
        for row in rows
        if row.folder == folder and row.results and quantity in row.results["errors"].get(set_name, {})
    }


def difference(change: Interval | None) -> tuple[str, str]:
    """A difference and its interval."""
    if change is None:
        return "", ""
    interval = "" if change.n < 2 else f"{change.low:+.3g} .. {change.high:+.3g}"
    return f"{change.mean:+.3g}{' *' if change.excludes_zero else ''}", interval
