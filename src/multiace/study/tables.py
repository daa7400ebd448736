"""What ``multiace study`` prints: where the runs stand, and what came out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.table import Table

from multiace.study.progress import Progress
from multiace.study.statistics import Interval, mean_interval, paired_difference
from multiace.study.store import Row
from multiace.tables import new_table

__all__ = ["duration", "progress_table", "result_table"]

QUANTITIES = {"energy": "energy [meV]", "forces": "forces [meV/Å]", "stress": "stress [meV/Å³]"}


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
