"""Sections about curves: along scans, of pairs of atoms, of dynamics, and of learning."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from multiace.errors import InputError
from multiace.report.build import read_columns
from multiace.report.html import Section
from multiace.study.analysis import Analysis
from multiace.study.measures import OF_DOMAIN, Measure
from multiace.study.outcomes import Outcome
from multiace.study.report import figures, svg
from multiace.study.report.errors import of_points, panels, scroll
from multiace.study.report.figures import Curve, Panel
from multiace.study.report.formats import to_html
from multiace.study.report.svg import Series
from multiace.study.report.tables import score_table, titled
from multiace.study.store import Row

__all__ = ["battery_sections", "gaps", "learning_section"]

BAND = "Mean over seeds, and the band from the lowest to the highest."
MOST_EPOCHS = 150  # of a learning curve that is drawn
LEARNED = {"valid_forces_rmse": "force RMSE [meV/Å]", "valid_energy_per_atom_rmse": "energy RMSE [meV/atom]"}


def battery_sections(analysis: Analysis, links: Mapping[str, str]) -> list[Section]:
    """Curves against the reference, pairs of atoms, and dynamics, as far as the runs have them."""
    drawn = {"curve": ("Curves", scan), "dimer": ("Pairs of atoms", dimer), "dynamics": ("Dynamics", None)}
    found = []
    for kind, (title, panel) in drawn.items():
        chosen = [m for m in analysis.measures if m.quantity.kind == kind]
        names = names_of(analysis, "dynamics" if kind == "dynamics" else f"{kind}s")
        body = figure(analysis, names, panel) if panel else ""
        sets: dict[str, list[Measure]] = {}
        for measure in chosen:  # pairs of atoms have one score, which is told of all pairs together
            key = titled(measure.quantity) if kind == "dimer" else measure.quantity.where
            sets.setdefault(key, []).append(measure)
        tables = {title: scroll(to_html(score_table(of, analysis), links)) for title, of in sets.items()}
        if tables:
            body += panels(tables)
        if body:
            found.append(Section(title, body))
    return found


def gaps(analysis: Analysis) -> list[str]:
    """What the battery could not measure."""
    rows = [row for point in analysis.points for row in point.done]
    absent = dict.fromkeys(file for row in rows for file in of(row, "absent"))
    skipped = Counter((name, why) for row in rows for name, why in of(row, "skipped").items())
    notes = [f"Files of the battery that were not there: {', '.join(absent)}."] if absent else []
    return notes + [f"Not measured of {n} runs: {name}: {why}" for (name, why), n in skipped.items()]


def names_of(analysis: Analysis, kind: str) -> list[str]:
    """Names of the curves, dimers or dynamics of all runs."""
    return list(
        dict.fromkeys(name for point in analysis.points for row in point.done for name in of(row, kind))
    )


def of(row: Row, kind: str) -> dict[str, Any]:
    """What the battery found of a kind."""
    found: dict[str, Any] = ((row.results or {}).get("battery") or {}).get(kind, {})
    return found


def figure(analysis: Analysis, names: Sequence[str], panel: Callable[[Analysis, str], Panel | None]) -> str:
    """All curves of a kind."""
    shown = [p for name in names if (p := panel(analysis, name)) is not None]
    if not shown:
        return ""
    legend = of_points(analysis)
    entries = list(legend.values())
    far = "What runs far away leaves the panel."
    if any(p.reference is not None for p in shown):
        far = f"Means that are more than {figures.FAR} times the range of the reference from it leave the panel."
        entries.insert(0, Series("reference", "reference", figures.INK, dots=True))
    return svg.figure(
        figures.curves(shown, legend),
        entries,
        f"Energies along {', '.join(names)}",
        f"{BAND} {far}" if analysis.is_repeated else far,
    )


def scan(analysis: Analysis, name: str) -> Panel | None:
    """Energies along a scan, and the reference."""
    curves: dict[str, Curve] = {}
    some: dict[str, Any] = {}
    for point in analysis.points:
        found = [of(row, "curves")[name] for row in point.done if name in of(row, "curves")]
        some = some or next(iter(found), {})
        found = [run for run in found if run["coordinate"] == some["coordinate"]]
        if found:
            x, reference = (np.array(some[key], dtype=float) for key in ("coordinate", "reference"))
            E = np.array([run["predicted"] for run in found], dtype=float)
            curves[point.folder] = Curve(x, E - reference.min(), tip(point, len(found)))
    if not curves:
        return None
    domain = f" ({OF_DOMAIN[some['domain']]})" if some.get("domain") else ""
    label = str(some.get("coordinate_name", "coordinate")).replace("_", " ")
    return Panel(f"{name}{domain}", label, "energy [eV]", curves, (x, reference - reference.min()))


def dimer(analysis: Analysis, name: str) -> Panel | None:
    """Energies of two atoms against their distance; from where they are farthest apart."""
    curves = {}
    for point in analysis.points:
        found = [of(row, "dimers")[name] for row in point.done if name in of(row, "dimers")]
        found = [run for run in found if len(run["distance"]) == len(found[0]["distance"])]
        if found:
            x = np.array(found[0]["distance"], dtype=float)
            E = np.array([np.array(run["energy"], dtype=float) for run in found])
            far = int(np.argmax(x))
            curves[point.folder] = Curve(x, E - E[:, far : far + 1], tip(point, len(found)))
    if not curves:
        return None
    return Panel(name, "distance [Å]", "energy − that of the longest distance [eV]", curves)


def tip(point: Outcome, runs: int) -> str:
    """What is told of a curve."""
    return f"{point.name}\n{f'mean of {runs} seeds' if runs > 1 else 'one seed'}"


def learning_section(analysis: Analysis, folder: Path) -> Section | None:
    """Validation errors against the epoch, from the logs in the folders of the runs."""
    shown = []
    columns = {row.name: read(folder / row.name / "metrics.csv") for p in analysis.points for row in p.done}
    for key, label in LEARNED.items():
        curves = {}
        for point in analysis.points:
            of_runs = [columns[row.name][key] for row in point.done if key in columns[row.name]]
            of_runs = [y for y in of_runs if np.isfinite(y).any()]
            if of_runs:
                length = min(map(len, of_runs))
                chosen = np.unique(np.linspace(0, length - 1, MOST_EPOCHS).astype(int))
                y = np.array([run[chosen] for run in of_runs])
                last = f"{point.name}\nlast epoch that all have: {y[:, -1].mean():.4g}"
                curves[point.folder] = Curve(chosen + 1.0, y, last)
        if curves:
            shown.append(Panel("validation", "epoch", label, curves, log=True))
    if not shown:
        return None
    legend = of_points(analysis)
    return Section(
        "Learning curves",
        svg.figure(
            figures.curves(shown, legend),
            legend.values(),
            "Validation errors against the epoch",
            f"{BAND} Up to the last epoch that all seeds of a point have."
            if analysis.is_repeated
            else "One seed.",
        ),
    )


def read(path: Path) -> dict[str, np.ndarray]:
    """Columns of a learning curve; none where there is no such file, as of models that are solved for."""
    try:
        return read_columns(path)
    except InputError:
        return {}
