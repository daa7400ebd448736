"""The part of the report about errors on test sets: table, parity and distributions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import units

from multiace.data.read import Frame
from multiace.evaluation import Evaluation
from multiace.model.potential import Potential
from multiace.report import figures, html
from multiace.report.figures import SetErrors
from multiace.report.html import Section
from multiace.tables import (
    CALIBRATION_CAPTION,
    CALIBRATION_HEAD,
    calibration_rows,
    error_rows,
    quantity_name,
    size,
)
from multiace.train.metrics import UNITS

__all__ = [
    "MILLI_TO_GPA",
    "calibration_section",
    "error_section",
    "formula",
    "parity_section",
    "percent",
    "set_errors",
]


def error_section(evaluations: Sequence[Evaluation]) -> Section:
    """Table of errors."""
    rows: list[tuple[str, ...]] = []
    kinds = []
    for evaluation in evaluations:
        name = evaluation.name
        for group, quantity, errors in error_rows(evaluation.metrics, UNITS):
            mae, rmse, spread, count = errors["mae"], errors["rmse"], errors["spread"], f"{errors['count']:,}"
            shown = (size(spread), percent(rmse, spread)) if spread > 0 else ("", "")
            numbers = size(mae), size(rmse), *shown, count
            rows.append((name, group, quantity_name(quantity), UNITS[quantity], *numbers))
            kinds.append("group" if name else "" if group == "all" else "minor")
            if quantity == "stress":
                gpa = (f"{x * MILLI_TO_GPA:.3f}" if x else "" for x in (mae, rmse, spread))
                rows.append(("", group, "stress", "GPa", *gpa, shown[1], count))
                kinds.append("" if group == "all" else "minor")
            name = ""
    head = ("set", "of", "quantity", "unit", "MAE", "RMSE", "spread", "RMSE / spread", "labels")
    caption = (
        "Errors of energies per structure and per atom, and of each force and stress component. Spread: "
        "standard deviation of the reference values (of energies, less the isolated atoms')."
    )
    return Section("Errors", html.table(head, rows, caption, numbers=5, kinds=kinds))


def calibration_section(evaluations: Sequence[Evaluation]) -> Section:
    """Error bars against errors: calibration curve and table, and extrapolation grades."""
    sets = {e.name: e.metrics["calibration"] for e in evaluations if e.metrics.get("calibration")}
    body = html.figure(
        figures.calibration(sets),
        "Observed against expected share of errors inside central intervals of the predicted error bars",
        "Share of errors that are smaller than the error bar of a probability, against that probability. On the line "
        "error bars are right, above it too wide, below it too narrow.",
    )
    body += html.table(
        CALIBRATION_HEAD, calibration_rows(sets), CALIBRATION_CAPTION, numbers=len(CALIBRATION_HEAD) - 2
    )
    grades = {e.name: e.metrics["extrapolation"] for e in evaluations if "extrapolation" in e.metrics}
    rows = [(name, f"{g['largest']:.2f}", f"{100 * g['above_1']:.1f} %") for name, g in grades.items()]
    if rows:
        caption = (
            "Extrapolation grades: above 1 an atom is less certain than every training atom of its element."
        )
        body += html.table(("set", "largest grade", "atoms above 1"), rows, caption, numbers=2)
    return Section("Error bars", body)


def parity_section(sets: dict[str, SetErrors]) -> Section:
    """Parity plots and error distributions."""
    body = html.figure(
        figures.parity(sets),
        "Predicted against reference energies and force components of each test set, and force errors by element",
        "Each row a test set: predicted against reference energies E (relative to the mean reference energy; "
        "less the isolated atoms' and per atom where compositions differ), components of forces F and, where "
        "there are any, of stresses σ (positive in tension); right, the share of force errors below a size, by "
        "element.",
    )
    body += html.figure(
        figures.error_distributions(sets),
        "Cumulative distributions of energy and force errors of the test sets",
        "Share of errors below a size. A curve crosses the dashed line, one half, at its median error.",
    )
    return Section("Parity and error distributions", body)


def set_errors(evaluation: Evaluation, potential: Potential) -> SetErrors:
    """Collect reference and predicted values where there are labels."""
    known = [k for k, frame in enumerate(evaluation.frames) if frame.energy is not None]
    frames = [evaluation.frames[k] for k in known]
    reference, predicted, symbols = [np.zeros((0, 3))], [np.zeros((0, 3))], [np.zeros(0, dtype="<U2")]
    for frame, forces in zip(evaluation.frames, evaluation.forces, strict=True):
        if frame.forces is not None:
            reference.append(frame.forces)
            predicted.append(forces)
            symbols.append(np.array(frame.atoms.get_chemical_symbols()))
    F_ref, F = np.concatenate(reference), np.concatenate(predicted)
    labelled = np.isfinite(F_ref)
    stresses = [
        (frame.stress, stress)
        for frame, stress in zip(evaluation.frames, evaluation.stresses, strict=True)
        if frame.stress is not None and stress is not None
    ]
    stress_ref, stress = (np.array([pair[k] for pair in stresses]).ravel() / units.GPa for k in (0, 1))
    return SetErrors(
        energies=(np.array([frame.energy for frame in frames], dtype=float), evaluation.energies[known]),
        num_atoms=np.array([len(frame.atoms) for frame in frames]),
        isolated=np.array([isolated_energy(frame, potential) for frame in frames]),
        mixed=len({formula(frame) for frame in frames}) > 1,
        forces=(F_ref[labelled], F[labelled]),
        symbols=np.repeat(np.concatenate(symbols)[:, None], 3, axis=1)[labelled],
        stresses=(stress_ref, stress),
    )


def isolated_energy(frame: Frame, potential: Potential) -> float:
    """ΣE0 of a structure [eV]."""
    E0 = dict(zip(potential.elements, potential.isolated_energies.tolist(), strict=True))
    return float(sum(E0[symbol] for symbol in frame.atoms.get_chemical_symbols()))


def formula(frame: Frame) -> str:
    """Chemical formula, the same for every order of the atoms."""
    return str(frame.atoms.get_chemical_formula())


def percent(part: float, whole: float) -> str:
    """Write a share: 3.2 %."""
    return f"{100 * part / whole:.1f}\N{NO-BREAK SPACE}%"


MILLI_TO_GPA = 1e-3 / units.GPa
"""GPa in one meV/Å³."""
