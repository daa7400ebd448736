"""The part of the report about a scan: model and reference along a path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from multiace.data.read import Frame
from multiace.errors import InputError
from multiace.evaluation import OWN_KEYS, evaluate
from multiace.model.potential import Potential
from multiace.report import figures, html
from multiace.report.errors import formula
from multiace.report.html import Section

__all__ = ["Curve", "scan_curves", "scan_section"]

MOST_CURVES = 12  # of a scan; a file with more is no scan


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
