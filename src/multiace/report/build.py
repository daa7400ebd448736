"""Collect what a run folder, its test sets, a scan and a trajectory say, and write the report."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from multiace.config import read_yaml
from multiace.deploy.md import Sample, energy_drift, read_log
from multiace.errors import InputError
from multiace.evaluation import Evaluation, evaluate
from multiace.model.potential import Potential
from multiace.report import figures, html
from multiace.report.figures import SetErrors
from multiace.report.html import Section
from multiace.tables import error_rows, model_facts, plain
from multiace.train.metrics import UNITS

__all__ = ["write_report"]


def write_report(
    folder: str | Path,
    tests: Sequence[str | Path] | None = None,
    scan: str | Path | None = None,
    coordinate: str = "reaction_coordinate",
    dynamics: str | Path | None = None,
    path: str | Path | None = None,
) -> Path:
    """Write the HTML report of a finished run; it needs no other file and no network to be read.

    Args:
        folder: Run folder with ``config.yaml``, ``model.safetensors`` and ``metrics.csv``.
        tests: Labelled files; by default the run's ``data.test``.
        scan: Labelled structures along a path.
        coordinate: Key in ``info`` of the scan's path coordinate.
        dynamics: Log of a trajectory at constant energy.
        path: The report; by default ``report.html`` in the folder.

    Returns:
        Where the report is.

    Raises:
        InputError: If a file is missing or cannot be used.
    """
    folder = Path(folder)
    path = Path(path) if path else folder / "report.html"
    run = read_yaml(folder / "config.yaml")
    potential = Potential.load(folder / "model.safetensors")
    evaluations = [evaluate(potential, test) for test in tests or run["data"]["test"]]

    sections = [error_section(evaluations), parity_section(evaluations)] if evaluations else []
    sections.append(learning_section(folder / "metrics.csv"))
    if scan is not None:
        sections.append(scan_section(potential, scan, coordinate))
    if dynamics is not None:
        sections.append(dynamics_section(read_log(dynamics)))
    sections += [model_section(potential, run), command_section(folder, scan, coordinate, dynamics)]

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        html.page(folder.resolve().name, subtitle(potential), lead(evaluations), sections), encoding="utf-8"
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


def lead(evaluations: Sequence[Evaluation]) -> str:
    """The two figures most asked for, of each test set."""
    items = []
    for evaluation in evaluations:
        for quantity, what in (("forces", "force RMSE"), ("energy_per_atom", "energy RMSE")):
            if quantity in evaluation.metrics:
                value = f"{evaluation.metrics[quantity]['rmse']:.3g}"
                items.append((value, UNITS[quantity], f"{what}, {evaluation.name}"))
    return html.cards(items[:6]) if items else ""


def error_section(evaluations: Sequence[Evaluation]) -> Section:
    """Table of errors."""
    rows, kinds = [], []
    for evaluation in evaluations:
        name = evaluation.name
        for group, quantity, errors in error_rows(evaluation.metrics, UNITS):
            numbers = f"{errors['mae']:.2f}", f"{errors['rmse']:.2f}", f"{errors['count']:,}"
            rows.append((name, group, quantity.replace("_", " "), UNITS[quantity], *numbers))
            kinds.append("group" if name else "" if group == "all" else "minor")
            name = ""
    head = ("set", "of", "quantity", "unit", "MAE", "RMSE", "labels")
    caption = "Errors of energies per structure and per atom, and of each force and stress component."
    return Section("Errors", html.table(head, rows, caption, numbers=3, kinds=kinds))


def parity_section(evaluations: Sequence[Evaluation]) -> Section:
    """Parity plots and error distributions."""
    sets = {evaluation.name: set_errors(evaluation) for evaluation in evaluations}
    body = html.figure(
        figures.parity(sets),
        "Predicted against reference energies and force components of each test set, and force errors by element",
        "Each row a test set: predicted against reference energies (relative to the mean reference energy) and "
        "force components, and the share of force errors below a size, by element.",
    )
    body += html.figure(
        figures.error_distributions(sets),
        "Cumulative distributions of energy and force errors of the test sets",
        "Share of errors below a size. A curve crosses the dashed line, one half, at its median error.",
    )
    return Section("Parity and error distributions", body)


def set_errors(evaluation: Evaluation) -> SetErrors:
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
    return SetErrors(
        energies=(np.array([frame.energy for frame in frames], dtype=float), evaluation.energies[known]),
        num_atoms=np.array([len(frame.atoms) for frame in frames]),
        forces=(F_ref[labelled], F[labelled]),
        symbols=np.repeat(np.concatenate(symbols)[:, None], 3, axis=1)[labelled],
    )


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


def scan_section(potential: Potential, scan: str | Path, coordinate: str) -> Section:
    """Model and reference along a path, and what each layer contributes.

    Raises:
        InputError: If structures have no energy, or no coordinate under that key.
    """
    evaluation = evaluate(potential, scan)
    frames = evaluation.frames
    missing = [f.source for f in frames if coordinate not in f.atoms.info or f.energy is None]
    if missing:
        raise InputError(
            f"{missing[0]} has no energy or no {coordinate!r}; a scan needs both, see --coordinate."
        )
    x = np.array([float(frame.atoms.info[coordinate]) for frame in frames])
    order = np.argsort(x)
    E_ref = np.array([frames[k].energy for k in order])
    E = evaluation.energies[order]
    layers = np.array([potential.contributions(frames[k].atoms)[1:] for k in order])
    lowest = int(np.argmin(E_ref))
    error = 1000 * ((E - E[lowest]) - (E_ref - E_ref[lowest]))
    text = f"{evaluation.name}: the model differs from the reference by at most {np.abs(error).max():.1f} meV"
    inner = [k for k in range(1, len(x) - 1) if E_ref[k] > max(E_ref[k - 1], E_ref[k + 1])]
    if inner:
        top = max(inner, key=lambda k: E_ref[k])
        barrier_ref, barrier = 1000 * (E_ref[top] - E_ref[lowest]), 1000 * (E[top] - E[lowest])
        text += f"; barrier {barrier_ref:.1f} meV in the reference, {barrier:.1f} meV in the model"
    body = html.figure(
        figures.scan(x[order], E_ref, E, layers, f"{coordinate.replace('_', ' ')} [Å]"),
        "Energy along the scan, its error, and the contribution of each layer",
        f"{text}. Right: the energy that is read out of each layer; with E0 they sum to the model's energy.",
    )
    return Section("Scan", body)


def dynamics_section(samples: list[Sample]) -> Section:
    """Energy conservation of a trajectory."""
    drift = energy_drift(samples)
    temperature = np.mean([sample.temperature for sample in samples])
    length = samples[-1].time - samples[0].time
    body = html.figure(
        figures.dynamics(samples),
        "Total energy per atom and temperature against time",
        f"{length:g} ps at constant energy, {temperature:.0f} K on average. Energy drift: {drift}.",
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


def command_section(
    folder: Path, scan: str | Path | None, coordinate: str, dynamics: str | Path | None
) -> Section:
    """The commands that give this run and this report again."""
    report = f"multiace report {folder}"
    if scan is not None:
        report += f" --scan {scan} --coordinate {coordinate}"
    if dynamics is not None:
        report += f" --md {dynamics}"
    lines = [f"multiace train {folder / 'config.yaml'} --folder NEW_FOLDER", report]
    return Section("Commands", html.code(lines))
