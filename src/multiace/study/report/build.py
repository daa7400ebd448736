"""Collect what a study has, and write its report and its tables."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable
from html import escape
from importlib.resources import files
from pathlib import Path

from multiace.errors import InputError
from multiace.files import writing
from multiace.report import html
from multiace.report.html import Section
from multiace.study.analysis import Analysis
from multiace.study.frame_errors import complete
from multiace.study.measures import HOLE, LOST
from multiace.study.progress import progress
from multiace.study.report.errors import cost_section, effect_section, error_section
from multiace.study.report.formats import FORMATS
from multiace.study.report.points import anchors, points_section, unfinished_section
from multiace.study.report.scans import battery_sections, gaps, learning_section
from multiace.study.report.studied import studied_section
from multiace.study.report.tables import ONE_SEED, all_tables
from multiace.study.report.trends import trend_sections
from multiace.study.report.words import bullets, cards, summary
from multiace.study.store import Store

__all__ = ["write_study_report"]

DESIGNS = {
    "grid": "All combinations of values",
    "one_at_a_time": "The base, and each value alone",
    "path": "One change after another",
}
METHOD = (
    "Errors are means over seeds, with the standard deviation of a sample (n − 1). Intervals of 95 % are of "
    "differences that are paired: the same seed and, where the errors of structures are kept, the same structures on "
    "both sides. Their variance is that over seeds plus that over resamples of the test set (2,000, whole structures, "
    "the same for all runs); Student's t has the degrees of freedom of Welch and Satterthwaite. Structures of a set "
    "are taken as independent of each other: neighbouring frames of a trajectory are not, and the interval is then too "
    "narrow. Each interval is one of its own, not corrected for how many there are."
)

SCORES = {
    "barrier error": "how far off the barrier is: the highest point above the lower of the minima beside it.",
    "dissociation error": "how far off the energy at the end of a curve is, above the lowest one.",
    "spurious extrema": "minima and maxima of a predicted curve beyond those of the reference.",
    "roughness of the error": "root mean square of the second difference of the error along a curve, x its coordinate.",
    HOLE: "how far the energy of two atoms falls again as they approach, from 3/4 of the sum of covalent radii.",
    LOST: "1 − survived / time, mean over replicas: what is left once a bond is broken or atoms collide.",
    "error of bonds": "integral of the difference of the distributions of bond lengths in dynamics and reference.",
    "error of pairs": "the same of the distances of all pairs of atoms.",
}
"""What scores of a battery mean, by their titles."""


def write_study_report(
    folder: str | Path,
    path: str | Path | None = None,
    tables: str | Path | None = None,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Write the HTML report of a study; it needs no other file and no network to be read.

    Args:
        folder: Of the study.
        path: The report; by default ``report.html`` in the folder.
        tables: Folder that gets its tables as Markdown, LaTeX and CSV.
        advance: Called with the number of runs done and to be done, while the errors of structures are measured that
            are not kept yet.

    Returns:
        Where the report is.

    Raises:
        InputError: If no run is done, or a file cannot be written.
    """
    store = Store(folder)
    names = store.planned()
    rows = store.rows(names)
    if not any(row.results for row in rows):
        raise InputError(f"no run of {folder} is done so far; see multiace study status {folder}.")
    notes = complete(store.folder, [row for row in rows if row.results], store.battery, advance)
    analysis = Analysis.of(rows, store.folder)
    path = Path(path) if path else store.folder / "report.html"
    found = progress(store, names)

    links = anchors(analysis)
    sections: list[Section | None] = [studied_section(analysis, store)]
    sections += [Section("Summary", summary(analysis)), effect_section(analysis, links)]
    sections += [error_section(analysis, links), *trend_sections(analysis)]
    sections += battery_sections(analysis, links)
    sections += [cost_section(analysis, links), learning_section(analysis, store.folder)]
    sections += [
        points_section(analysis, store.folder, path.parent, store.battery),
        unfinished_section(found),
    ]
    sections += [method_section(analysis, notes + gaps(analysis), store.folder, path, tables)]

    states = Counter(p.state for p in found)
    runs = ", ".join(f"{number} {state}" for state, number in states.items())
    points = (
        f"{DESIGNS[analysis.design]}: {len(analysis.points)} points" if analysis.is_compared else "One point"
    )
    subtitle = f"{points}; runs: {runs}"
    style, script = (
        files("multiace.study.report").joinpath(name).read_text(encoding="utf-8")
        for name in ("study.css", "study.js")
    )
    name = store.folder.resolve().name
    text = html.page(
        name, subtitle, cards(analysis), [s for s in sections if s], "multiace study", style, script
    )
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    if tables is not None:
        write_tables(analysis, Path(tables))
    return path


def write_tables(analysis: Analysis, folder: Path) -> None:
    """Write each table in each format."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for table in all_tables(analysis):
            for ending, written in FORMATS.items():
                (folder / f"{table.name}.{ending}").write_text(written(table), encoding="utf-8")


def method_section(
    analysis: Analysis, notes: list[str], folder: Path, path: Path, tables: str | Path | None
) -> Section:
    """How the numbers were made, what is missing, and the command that writes this page."""
    command = ["multiace", "study", "report", str(folder)]
    command += ["--out", str(path)] if path != folder / "report.html" else []
    command += ["--tables", str(tables)] if tables is not None else []
    titles = dict.fromkeys(measure.quantity.title for measure in analysis.measures)
    scores = [f"<b>{escape(title)}</b>: {escape(SCORES[title])}" for title in titles if title in SCORES]
    body = (
        html.paragraph(METHOD if analysis.is_repeated else ONE_SEED)
        + bullets(scores) * bool(scores)
        + "".join(map(html.paragraph, notes))
    )
    return Section("How the numbers are made", body + html.code([shlex.join(command)]))
