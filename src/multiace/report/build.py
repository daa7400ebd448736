"""Collect what a run folder, its test sets, a scan and a trajectory say, and write the report."""

from __future__ import annotations

import csv
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import units

from multiace.config import read_yaml
from multiace.data.read import Frame
from multiace.deploy.md import Sample, energy_drift, read_log
from multiace.errors import InputError
from multiace.evaluation import OWN_KEYS, Evaluation, evaluate
from multiace.fields import plain
from multiace.model.config import outside_choices
from multiace.model.potential import Potential
from multiace.report import figures, html
from multiace.report.data import data_section
from multiace.report.figures import SetErrors
from multiace.report.html import Section
from multiace.tables import error_rows, model_facts, quantity_name, size
from multiace.train.metrics import UNITS

__all__ = ["write_report"]

MOST_CURVES = 12  # of a scan; a file with more is no scan


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
    evaluations = [evaluate(potential, test) for test in tests or run["data"]["test"]]
    curves = scan_curves(potential, scan, coordinate) if scan is not None else []

    sets = {evaluation.name: set_errors(evaluation, potential) for evaluation in evaluations}
    sections = [error_section(evaluations), parity_section(sets)] if evaluations else []
    sections.append(learning_section(folder / "metrics.csv"))
    if (folder / "data_check.json").exists():
        sections.append(data_section(folder / "data_check.json"))
    if scan is not None:
        sections.append(scan_section(Path(scan).stem, curves, coordinate))
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


MILLI_TO_GPA = 1e-3 / units.GPa
"""GPa in one meV/Å³."""


def percent(part: float, whole: float) -> str:
    """Write a share: 3.2 %."""
    return f"{100 * part / whole:.1f}\N{NO-BREAK SPACE}%"


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


def formula(frame: Frame) -> str:
    """Chemical formula, the same for every order of the atoms."""
    return str(frame.atoms.get_chemical_formula())


def isolated_energy(frame: Frame, potential: Potential) -> float:
    """ΣE0 of a structure [eV]."""
    E0 = dict(zip(potential.elements, potential.isolated_energies.tolist(), strict=True))
    return float(sum(E0[symbol] for symbol in frame.atoms.get_chemical_symbols()))


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


@dataclass(frozen=True)
class Curve:
    """Model and reference along a path of structures of one composition and config type.

    Attributes:
        suffix: Of messages: empty, or ", " and what tells this curve from the others.
        coordinate: Ascending, (n_frames,).
        reference: E [eV], (n_frames,).
        predicted: E [eV], (n_frames,).
        layers: Contributions of the layers [eV], (n_frames, n_layers).
    """

    suffix: str
    coordinate: np.ndarray
    reference: np.ndarray
    predicted: np.ndarray
    layers: np.ndarray

    @property
    def largest_error(self) -> float:
        """Largest error of the energy above the lowest point of the reference [meV]."""
        error = self.predicted - self.reference
        return 1000 * float(np.abs(error - error[int(np.argmin(self.reference))]).max())

    @property
    def barriers(self) -> tuple[float, float] | None:
        """Reference and predicted height of the highest inner maximum above the lowest point [meV]."""
        E_ref, E = self.reference, self.predicted
        inner = [k for k in range(1, len(E_ref) - 1) if E_ref[k] > max(E_ref[k - 1], E_ref[k + 1])]
        if not inner:
            return None
        top, lowest = max(inner, key=lambda k: E_ref[k]), int(np.argmin(E_ref))
        return 1000 * float(E_ref[top] - E_ref[lowest]), 1000 * float(E[top] - E[lowest])


def scan_curves(potential: Potential, scan: str | Path, coordinate: str) -> list[Curve]:
    """Evaluate a scan: one curve per composition and config type, as only those energies compare.

    Raises:
        InputError: If structures have no energy or no number under that key, or make too many curves.
    """
    evaluation = evaluate(potential, scan)
    frames = evaluation.frames
    x = np.array([path_coordinate(frame, coordinate) for frame in frames])
    groups: dict[tuple[str, str], list[int]] = {}
    for k in np.argsort(x, kind="stable").tolist():
        groups.setdefault((formula(frames[k]), frames[k].config_type), []).append(k)
    if len(groups) > MOST_CURVES:
        raise InputError(
            f"{scan} holds {len(groups)} combinations of composition and config_type; a scan has at most "
            f"{MOST_CURVES}, each drawn as a curve of its own."
        )
    curves = []
    for labels, chosen in groups.items():
        composition, config_type = labels
        label = composition if config_type in ("default", composition) else f"{composition} {config_type}"
        curves.append(
            Curve(
                suffix=f", {label}" if len(groups) > 1 else "",
                coordinate=x[chosen],
                reference=np.array([frames[k].energy for k in chosen], dtype=float),
                predicted=evaluation.energies[chosen],
                layers=np.array([potential.contributions(frames[k].atoms)[1:] for k in chosen]),
            )
        )
    return curves


def path_coordinate(frame: Frame, coordinate: str) -> float:
    """Return the path coordinate of a frame that also has an energy.

    Raises:
        InputError: If one of them is missing.
    """
    if frame.energy is None:
        raise InputError(f"{frame.source} has no energy; every structure of a scan needs one.")
    keys = ", ".join(key for key in map(str, frame.atoms.info) if key not in OWN_KEYS) or "none"
    if coordinate not in frame.atoms.info:
        raise InputError(
            f"{frame.source} has no info key {coordinate!r}; its keys are: {keys}. Choose the path "
            "coordinate with --coordinate KEY."
        )
    try:
        return float(frame.atoms.info[coordinate])
    except (TypeError, ValueError):
        raise InputError(
            f"{frame.source}: {coordinate} = {frame.atoms.info[coordinate]!r} is not a number; choose "
            f"another key with --coordinate, from: {keys}."
        ) from None


def scan_section(name: str, curves: Sequence[Curve], coordinate: str) -> Section:
    """Model and reference along a path, and what each layer contributes: a figure per curve."""
    body = ""
    for curve in curves:
        text = f"{name}{curve.suffix}: the model is off by at most {curve.largest_error:.1f} meV"
        if curve.barriers:
            reference, predicted = curve.barriers
            text += f"; barrier {reference:.1f} meV in the reference, {predicted:.1f} meV in the model"
        arrays = curve.coordinate, curve.reference, curve.predicted, curve.layers
        body += html.figure(
            figures.scan(*arrays, coordinate.replace("_", " ")),
            f"Energy along the scan{curve.suffix}, its error, and the contribution of each layer",
            f"{text}. Energies are relative to the lowest of the reference. Right: the energy that is read "
            "out of each layer; with E0 they sum to the model's energy.",
        )
    return Section("Scan", body)


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
