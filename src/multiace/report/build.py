"""Collect what a run folder, its test sets, a scan and a trajectory say, and write the report."""

from __future__ import annotations

import csv
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from multiace.config import read_yaml
from multiace.deploy.md import Sample, energy_drift, read_log
from multiace.errors import InputError
from multiace.evaluation import Evaluation, evaluate
from multiace.fields import plain
from multiace.model.config import outside_choices
from multiace.model.potential import Potential
from multiace.report import figures, html
from multiace.report.data import data_section
from multiace.report.errors import (
    MILLI_TO_GPA,
    calibration_section,
    error_section,
    parity_section,
    percent,
    set_errors,
)
from multiace.report.html import Section
from multiace.report.scan import Curve, scan_curves, scan_section
from multiace.tables import model_facts, verification_rows, verified_on
from multiace.train.metrics import UNITS

__all__ = ["write_report"]


def write_report(
    folder: str | Path,
    tests: Sequence[str | Path] | None = None,
    scan: str | Path | None = None,
    coordinate: str = "reaction_coordinate",
    dynamics: str | Path | None = None,
    path: str | Path | None = None,
    outside_code: bool = False,
) -> Path:
    """Write the HTML report of a finished run; it needs no other file and no network to be read.

    Args:
        folder: Run folder with ``config.yaml``, ``model.safetensors`` and ``metrics.csv``.
        tests: Labelled files; by default the run's ``data.test``.
        scan: Labelled structures along a path.
        coordinate: Key in ``info`` of the scan's path coordinate.
        dynamics: Log of a trajectory.
        path: The report; by default ``report.html`` in the folder.
        outside_code: Import the choices from outside of the model's config, see :meth:`Potential.load`.

    Returns:
        Where the report is.

    Raises:
        InputError: If a file is missing or cannot be used.
    """
    folder = Path(folder)
    path = Path(path) if path else folder / "report.html"
    run = read_yaml(folder / "config.yaml")
    potential = Potential.load(folder, outside_code=outside_code)
    bars = potential.committee is not None
    evaluations = [evaluate(potential, test, uncertainty=bars) for test in tests or run["data"]["test"]]
    curves = scan_curves(potential, scan, coordinate) if scan is not None else []

    sets = {evaluation.name: set_errors(evaluation, potential) for evaluation in evaluations}
    sections = [error_section(evaluations), parity_section(sets)] if evaluations else []
    if any(evaluation.metrics.get("calibration") for evaluation in evaluations):
        sections.append(calibration_section(evaluations))
    if "linear_fit" in potential.metadata:
        sections.append(linear_section(potential.metadata["linear_fit"]))
    else:
        sections.append(learning_section(folder / "metrics.csv"))
    if (folder / "data_check.json").exists():
        sections.append(data_section(folder / "data_check.json"))
    if scan is not None:
        sections.append(scan_section(Path(scan).stem, curves, coordinate))
    if "verification" in potential.metadata:
        sections.append(verification_section(potential.metadata["verification"]))
    if dynamics is not None:
        sections.append(dynamics_section(read_log(dynamics)))
    options = {"--test": tests, "--scan": scan, "--coordinate": coordinate if scan else None}
    options |= {"--md": dynamics, "--out": path if path != folder / "report.html" else None}
    flags = ["--outside-code"] if outside_choices(potential.config.model_dump()) else []
    sections += [model_section(potential, run), command_section(folder, options, flags)]

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        html.page(folder.resolve().name, subtitle(potential), lead(evaluations, curves), sections),
        encoding="utf-8",
    )
    return path


def subtitle(potential: Potential) -> str:
    """One line on what the model is."""
    config = potential.config
    parameters = sum(p.numel() for p in potential.parameters())
    return (
        f"{config.num_layers} layers, {config.hidden_irreps}, correlation {config.correlation}, "
        f"cutoff {config.cutoff:g} Å, {parameters:,} parameters, {config.dtype}; {', '.join(config.elements)}"
    )


def lead(evaluations: Sequence[Evaluation], curves: Sequence[Curve]) -> str:
    """The figures most asked for: of the scan's barrier, and of each test set with its yardstick."""
    items = []
    barriers = [(*curve.barriers, curve.suffix) for curve in curves if curve.barriers]
    if barriers:
        reference, predicted, suffix = max(barriers)
        text = f"error of the barrier{suffix}: model {predicted:.1f}, reference {reference:.1f} meV"
        items.append((f"{predicted - reference:+.1f}", "meV", text))
    for evaluation in evaluations:
        names = (("forces", "force RMSE"), ("energy_per_atom", "energy RMSE"), ("stress", "stress RMSE"))
        for quantity, what in names:
            if quantity in evaluation.metrics:
                rmse, spread = (evaluation.metrics[quantity][name] for name in ("rmse", "spread"))
                value, unit = f"{rmse:.3g}" if rmse < 1000 else f"{rmse:,.0f}", UNITS[quantity]
                if quantity == "stress":
                    value, unit = f"{rmse * MILLI_TO_GPA:.3g}", "GPa"
                share = f"; {percent(rmse, spread)} of the spread" if spread > 0 else ""
                items.append((value, unit, f"{what}, {evaluation.name}{share}"))
    return html.cards(items[:7]) if items else ""


def linear_section(fit: dict[str, Any]) -> Section:
    """How the coefficients were found."""
    rows = [
        ("solver", fit["solver"]),
        ("basis functions", f"{fit['functions']:,}, of which {fit['seen']:,} see the elements of the data"),
        ("rows", f"{fit['rows']:,}"),
        ("effective coefficients", f"{fit['degrees_of_freedom']:,.0f}"),
        ("noise of a force component", f"{1000 * fit['noise']:.3g} meV/Å"),
    ]
    return Section("Linear fit", html.table(("", ""), rows))


def learning_section(path: Path) -> Section:
    """Learning curves from metrics.csv."""
    columns = read_columns(path)
    panels = {
        "loss": {"train": "train_loss", "valid": "valid_loss"},
        "energy error [meV/atom]": {
            "MAE": "valid_energy_per_atom_mae",
            "RMSE": "valid_energy_per_atom_rmse",
        },
        "force error [meV/Å]": {"MAE": "valid_forces_mae", "RMSE": "valid_forces_rmse"},
        "stress error [meV/Å³]": {"MAE": "valid_stress_mae", "RMSE": "valid_stress_rmse"},
        "learning rate": {"rate": "learning_rate"},
    }
    shown = {
        title: {name: columns[key] for name, key in lines.items() if key in columns}
        for title, lines in panels.items()
    }
    shown = {title: lines for title, lines in shown.items() if lines}
    n = len(columns["epoch"])
    minutes = f" in {columns['seconds'][-1] / 60:.1f} minutes" if "seconds" in columns else ""
    return Section(
        "Learning curves",
        html.figure(
            figures.learning_curves(columns["epoch"], shown),
            "Loss, validation errors and learning rate against the epoch",
            f"{n} epochs{minutes}. Errors are those on the validation set; the last value is in the legend.",
        ),
    )


def read_columns(path: Path) -> dict[str, np.ndarray]:
    """Read the numbers of a CSV file by column; NaN where a cell is empty.

    Raises:
        InputError: If the file is missing or holds no epochs.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; is this the folder of a run?") from None
    if not rows or "epoch" not in rows[0]:
        raise InputError(f"{path} has no epochs; wait until the run has finished its first.")
    return {name: np.array([float(row[name] or "nan") for row in rows]) for name in rows[0]}


def verification_section(report: dict[str, Any]) -> Section:
    """The physics of the model, as found at the end of training."""
    head = ("check", "figure", "bound", "unit", "", "where")
    return Section(
        "Verification", html.table(head, verification_rows(report), f"Checked {verified_on(report)}.")
    )


def dynamics_section(samples: list[Sample]) -> Section:
    """Energy conservation of a trajectory, or temperature and energy where a bath exchanges energy."""
    temperature = np.array([sample.temperature for sample in samples])
    length = samples[-1].time - samples[0].time
    conserved = all(sample.ensemble == "nve" for sample in samples)
    if conserved:
        text = f"{length:g} ps at constant energy, {temperature.mean():.0f} K on average. "
        text += f"Energy drift: {energy_drift(samples)}."
    else:
        text = f"{length:g} ps of Langevin dynamics, {temperature.mean():.0f} K on average with a standard "
        text += f"deviation of {temperature.std():.0f} K. The bath exchanges energy with the "
        text += "structure, so there is no energy drift to measure."
    energy = "Total" if conserved else "Potential"
    body = html.figure(
        figures.dynamics(samples, conserved), f"{energy} energy per atom and temperature against time", text
    )
    return Section("Dynamics", body)


def model_section(potential: Potential, run: dict[str, Any]) -> Section:
    """Facts and the resolved config, in two columns."""
    facts = html.table(("model", ""), model_facts(potential))
    left = html.table(
        ("config: model", ""), [(k, plain(v)) for k, v in potential.config.model_dump().items()]
    )
    right = "".join(
        html.table((f"config: {name}", ""), [(k, plain(v)) for k, v in run[name].items()])
        for name in ("data", "train")
    )
    return Section("Model", f"{facts}<div class=columns><div>{left}</div><div>{right}</div></div>")


def command_section(folder: Path, options: dict[str, Any], flags: Sequence[str] = ()) -> Section:
    """The commands that give this run and this report again; options that are None were not given."""
    report = ["multiace", "report", str(folder)]
    for option, value in options.items():
        if value is not None:
            values = [value] if isinstance(value, str | Path) else value
            report += [option, *map(str, values)]
    report += flags
    train = ["multiace", "train", str(folder / "config.yaml"), "--folder", "NEW_FOLDER"]
    return Section("Commands", html.code([shlex.join(train), shlex.join(report)]))
