"""The section of points and runs: where every number is from, and how to get it again."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from multiace.fields import plain
from multiace.report import html
from multiace.report.html import Section
from multiace.study.analysis import Analysis
from multiace.study.numbers import plus_minus
from multiace.study.outcomes import Outcome
from multiace.study.progress import Progress
from multiace.study.report.tables import even
from multiace.study.store import Row
from multiace.study.testing import beside as folders_of

__all__ = ["ALL", "anchors", "points_section", "unfinished_section"]

ALL = "#points"
"""Where the table of points is on the page."""

SHOWN = 4  # errors of a point in the table of points


def anchors(analysis: Analysis) -> dict[str, str]:
    """Where each point is on the page, by its name."""
    return {point.name: f"#point-{k}" for k, point in enumerate(analysis.points)}


def points_section(analysis: Analysis, folder: Path, beside: Path, battery: str | None) -> Section:
    """A row for each point, which opens to its runs, its changes and its commands.

    Args:
        analysis: Of the study.
        folder: Of the study.
        beside: Folder of the page, which links are relative to.
        battery: Of the study.
    """
    main = analysis.main[:SHOWN]
    digits = [even(measure, analysis) for measure in main]
    titles = ["point", "runs", "parameters", *(measure.quantity.label for measure in main)]
    head = "".join(f"<th{' class=n' if k else ''}>{escape(title)}</th>" for k, title in enumerate(titles))
    bodies = []
    for point in analysis.points:
        parameters = {
            row.results["parameters"] for row in point.done if row.results and "parameters" in row.results
        }
        counts = f"{len(point.done)} of {len(point.rows)}", " ".join(f"{n:,}" for n in sorted(parameters))
        numbers = [
            *counts,
            *(plus_minus(m.mean(point.folder), of) for m, of in zip(main, digits, strict=True)),
        ]
        name = f"<button type=button class=point>{escape(point.name)}</button>"
        row = f"<td>{name}</td>" + "".join(f"<td class=n>{escape(cell)}</td>" for cell in numbers)
        more = f"<td colspan={len(titles)}>{opened(point, analysis, folder, beside, battery)}</td>"
        place = anchors(analysis)[point.name].removeprefix("#")
        bodies.append(f'<tbody id="{place}"><tr>{row}</tr><tr class=more>{more}</tr></tbody>')
    caption = "<caption>A click on a point opens its runs, its changes, and the commands that give it again.</caption>"
    table = f'<table class="sortable points">{caption}<thead><tr>{head}</tr></thead>{"".join(bodies)}</table>'
    return Section("Points and runs", f"<div class=wide id={ALL.removeprefix('#')}>{table}</div>")


def opened(point: Outcome, analysis: Analysis, folder: Path, beside: Path, battery: str | None) -> str:
    """What a row opens to."""
    rows = [run_cells(row, folder, beside) for row in point.rows]
    runs = html.table(("seed", "state", "run folder", "best epoch", "training [s]", ""), rows)
    changed = differences(analysis.reference.rows[0].config, point.rows[0].config)
    other = analysis.reference.name
    if point is analysis.reference:
        changes = html.paragraph("What the other points are compared with.")
    else:
        changes = html.table(("field", "there", "here"), changed, f"What it changes against {other}.")
    return runs + changes + html.code(line for row in point.rows for line in commands(row, folder, battery))


def run_cells(row: Row, folder: Path, beside: Path) -> list[str]:
    """Cells of a run, its folder and files as links relative to the page."""
    place = folder / row.name
    links = [link(place, beside, place.name)]
    for name in ("config.yaml", "summary.json", "metrics.csv", "train.log", "error.txt"):
        if (place / name).exists():
            links.append(link(place / name, beside, name))
    results = row.results or {}
    epoch = "" if results.get("best_epoch") is None else str(results["best_epoch"])
    seconds = "" if results.get("seconds") is None else f"{results['seconds']:,.0f}"
    return [str(row.seed), row.state, html.Markup(" ".join(links)), epoch, seconds, row.error or ""]


def link(place: Path, beside: Path, text: str) -> str:
    """A link from the page to a file or folder."""
    target = Path(os.path.relpath(place.absolute(), beside.absolute())).as_posix()
    return f'<a href="{escape(target)}">{escape(text)}</a>'


def commands(row: Row, folder: Path, battery: str | None) -> Iterator[str]:
    """The commands that give a run again, and what its model was tested on."""
    place = folder / row.name
    if not (place / "config.yaml").exists():
        yield shlex.join(["multiace", "study", "work", str(folder), row.name])
        return
    yield shlex.join(["multiace", "train", str(place / "config.yaml"), "--folder", "NEW_FOLDER"])
    if battery is not None and (row.results or {}).get("battery"):
        data = map(str, folders_of(row.config["data"]))
        yield shlex.join(["multiace", "evaluate", "NEW_FOLDER", "--battery", battery, "--data", *data])


def differences(base: Mapping[str, Any], other: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Fields of two run files that differ, with both values; the seed aside."""
    return [
        (field, plain(before), plain(now))
        for field, before, now in both(base, other)
        if before != now and field != "train.seed"
    ]


def both(base: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Every field of either run file, and its values."""
    for section in dict.fromkeys([*base, *other]):
        before, now = (run.get(section) or {} for run in (base, other))
        for name in dict.fromkeys([*before, *now]):
            yield f"{section}.{name}", before.get(name), now.get(name)


def unfinished_section(found: Sequence[Progress]) -> Section | None:
    """Runs that are not done: failed, waiting, running or interrupted; those that are tested again have results."""
    rows = [(p.row.point, str(p.row.seed), p.state, p.row.error or "") for p in found if p.state != "done"]
    if not rows:
        return None
    return Section("Runs that are not done", html.table(("point", "seed", "state", ""), rows, sortable=True))
