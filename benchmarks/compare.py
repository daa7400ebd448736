"""Compare points of several studies, which had different budgets: ``python benchmarks/compare.py POINT...``.

A POINT is FOLDER of a study, a colon, and the name of one of its points (without them, all of them). The first is
compared with each other one, paired by seed and structure as in the report of one study. Markdown is printed: mean ±
standard deviation over seeds (n - 1); behind it, for the others, by how much the first is lower or higher, with a 95 %
interval, and a star where it excludes 0.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from multiace.errors import InputError
from multiace.study.measures import Measure, measures
from multiace.study.store import Row, Store


def chosen(text: str) -> list[Row]:
    """Return the runs of a study that are done, or those of one of its points, by the whole path of their folder.

    Raises:
        InputError: If there are none.
    """
    folder, _, point = text.partition(":")
    store = Store(Path(folder))
    planned = store.rows(store.planned())
    rows = [row for row in planned if row.results and point in ("", row.point)]
    if not rows:
        names = ", ".join(dict.fromkeys(row.point for row in planned))
        raise InputError(f"{folder} has no run of {point or 'any point'} that is done; its points: {names}.")
    return [replace(row, name=f"{Path(folder).resolve()}/{row.name}") for row in rows]


def line(measure: Measure, points: list[str]) -> list[str]:
    """Write one quantity of all points."""
    first, *others = points
    cells = [measure.quantity.label]
    for point in points:
        mean = measure.mean(point)
        cells.append("" if mean is None else f"{mean.mean:.3g} ± {mean.deviation:.2g}")
    for k, point in enumerate(others, 2):
        gain = measure.difference(first, point)
        if gain is not None:
            star = " *" if gain.excludes_zero else ""
            cells[k] += f" ({gain.mean:+.2g}, {gain.low:+.2g} to {gain.high:+.2g}{star})"
    return cells


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("points", nargs="+", metavar="FOLDER[:POINT]")
    rows = [row for text in parser.parse_args().points for row in chosen(text)]
    points = {row.folder: row.point for row in rows}
    lines = [["quantity", *points.values()], ["---"] * (len(points) + 1)]
    lines += [
        line(measure, list(points)) for measure in measures(rows, Path("/")) if measure.quantity.is_main
    ]
    print("\n".join(f"| {' | '.join(cells)} |" for cells in lines))


if __name__ == "__main__":
    main()
