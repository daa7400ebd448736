"""Energies along a path: model and reference, for the report, and what they are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from multiace.battery.coordinates import places
from multiace.battery.curves import barriers, extrema
from multiace.data.read import Frame
from multiace.errors import InputError
from multiace.evaluation import evaluate
from multiace.explanation import Explanation, shortened
from multiace.model.potential import Potential
from multiace.report import figures, html
from multiace.report.errors import formula
from multiace.report.html import Section

__all__ = ["COORDINATE", "Along", "Curve", "along", "draw_split", "scan_curves", "scan_section"]

COORDINATE = "reaction_coordinate"
"""The info key of the path coordinate, if nothing else is given."""

MOST_CURVES = 12  # of a scan; a file with more is no scan
MOST_TERMS = 11  # of an energy that are drawn, each with a curve
LINES = ["-"] * len(figures.COLORS) + ["--"] * len(figures.COLORS)
ZERO = 1e-8  # [eV] what changes less is not drawn
TOLERANCE = 1e-3  # [eV] lower ones are no barriers


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
        """Reference and predicted barrier [meV] as a battery defines them; None where the reference has no maximum."""
        heights = barriers(self.reference, self.predicted, TOLERANCE)
        if heights is None or not len(extrema(self.reference, TOLERANCE)[1]):
            return None
        return 1000 * heights[0], 1000 * heights[1]


def scan_curves(potential: Potential, scan: str | Path, coordinate: str) -> list[Curve]:
    """Evaluate a scan: one curve per composition and config type, as only those energies compare.

    Raises:
        InputError: If structures have no energy or no place on the path, or make too many curves.
    """
    evaluation = evaluate(potential, scan)
    frames = evaluation.frames
    for frame in frames:
        if frame.energy is None:
            raise InputError(f"{frame.source} has no energy; every structure of a scan needs one.")
    groups: dict[tuple[str, str], list[int]] = {}
    for k, frame in enumerate(frames):
        groups.setdefault((formula(frame), frame.config_type), []).append(k)
    if len(groups) > MOST_CURVES:
        raise InputError(
            f"{scan} holds {len(groups)} combinations of composition and config_type; a scan has at most "
            f"{MOST_CURVES}, each drawn as a curve of its own."
        )
    curves = []
    for (composition, config_type), several in groups.items():
        x = places([frames[k] for k in several], [coordinate])[1]
        order = np.argsort(x, kind="stable")
        chosen = [several[k] for k in order]
        label = composition if config_type in ("default", composition) else f"{composition} {config_type}"
        curves.append(
            Curve(
                suffix=f", {label}" if len(groups) > 1 else "",
                coordinate=x[order],
                reference=np.array([frames[k].energy for k in chosen], dtype=float),
                predicted=evaluation.energies[chosen],
                layers=np.array([potential.contributions(frames[k].atoms)[1:] for k in chosen]),
            )
        )
    return curves


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


class Along(NamedTuple):
    """Where structures are on a path: what the coordinate is, its values (n_frames,), and their ascending order."""

    label: str
    coordinate: np.ndarray
    order: np.ndarray


def along(frames: Sequence[Frame], coordinate: str | None = None) -> Along:
    """Return the path that structures make.

    Args:
        frames: Two or more, of one composition.
        coordinate: Of the path, as in curves of a battery: an info key, or ``dihedral 0 1 2 3``. None:
            ``reaction_coordinate`` where all structures have it, or their number.

    Raises:
        InputError: If they make none.
    """
    compositions = sorted({formula(frame) for frame in frames})
    if len(frames) < 2 or len(compositions) > 1:
        raise InputError(
            f"a path is two structures or more, of one composition; {len(frames)} of {', '.join(compositions)} cannot "
            "be drawn. Give others, or leave --plot out."
        )
    if coordinate is None and all(COORDINATE in frame.atoms.info for frame in frames):
        coordinate = COORDINATE
    if coordinate is None:
        return Along("structure", np.arange(len(frames)), np.arange(len(frames)))
    x = places(frames, [coordinate])[1]
    return Along(coordinate.replace("_", " "), x, np.argsort(x, kind="stable"))


def draw_split(explanation: Explanation, path: Along, file: str | Path) -> None:
    """Draw the terms of energies along a path into a file: SVG, PNG or PDF, by its ending.

    Raises:
        InputError: If it cannot be written.
    """
    energies = explanation.energies[path.order]
    reference = [np.nan if frame.energy is None else frame.energy for frame in explanation.frames]
    names, terms = shortened(explanation.names, energies - energies[0], MOST_TERMS)
    x, of_frames = path.coordinate[path.order], np.array(reference)[path.order]
    figure = split_figure(x, energies.sum(axis=1), of_frames, names, terms, path.label)
    figures.save(figure, Path(file))


@figures.styled
def split_figure(
    coordinate: np.ndarray,
    energy: np.ndarray,
    reference: np.ndarray,
    names: Sequence[str],
    terms: np.ndarray,
    label: str,
) -> Figure:
    """Energy along a path, and its terms, all less their values at the first structure.

    Args:
        coordinate: Ascending, (n_frames,).
        energy: Of the model [eV], (n_frames,).
        reference: The same, NaN where it is not known.
        names: Of the terms.
        terms: [eV], (n_frames, n_terms), zero at the first structure; those that are zero everywhere are left out.
        label: What the coordinate is.
    """
    figure, axes = figures.subplots(1, 2, 3.9)
    whole, parts = axes[0]
    whole.plot(coordinate, energy - energy[0], color=figures.COLORS[0], label="model")
    if np.isfinite(reference[0]):
        style: dict[str, Any] = {"ms": 4, "mfc": "white", "mec": figures.INK, "mew": 1}
        whole.plot(coordinate, reference - reference[0], "o", **style, label="reference")
    whole.set(title="energy", ylabel="energy − at the first [eV]")
    figures.legend_above(whole)
    parts.axhline(0, color=figures.GREY, lw=0.8)
    drawn = [k for k in range(len(names)) if np.abs(terms[:, k]).max() > ZERO]
    widths = np.linspace(2.2, 1.4, len(drawn))  # so that a curve shows below one that is the same
    for k, width, color, line in zip(drawn, widths, cycle(figures.COLORS), LINES, strict=False):
        parts.plot(coordinate, terms[:, k], color=color, ls=line, lw=width, label=names[k])
    parts.set(title="what it is made of", ylabel="term − at the first [eV]")
    parts.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    for ax in axes[0]:
        ax.set_xlabel(label)
    return figure
