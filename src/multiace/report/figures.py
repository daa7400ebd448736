"""The figures of the report, each a function from arrays to a matplotlib Figure."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from ase.data import atomic_numbers
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from multiace.deploy.md import Sample, energy_drift
from multiace.files import writing

__all__ = [
    "SetErrors",
    "calibration",
    "dynamics",
    "error_distributions",
    "image",
    "learning_curves",
    "parity",
    "save",
    "scan",
]

INK, GREY, FAINT = "#1c2430", "#6b7480", "#d9dde2"
COLORS = ("#0b6e8f", "#d1632a", "#5b8c3a", "#8a4f9e", "#b8912a", "#44546a")
ELEMENT_COLORS = {"H": "#9aa5b1", "C": "#1c2430", "N": "#2f5fd0", "O": "#c8323a", "S": "#c9a227"}
STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "svg.hashsalt": "multiace",
}
WIDTH = 10.6  # [inch] of every figure: the width of the page's column


@dataclass(frozen=True)
class SetErrors:
    """What the figures show of a test set.

    Attributes:
        energies: Reference and predicted E [eV], each (n_frames,).
        num_atoms: Atoms of each of these frames, (n_frames,).
        isolated: ΣE0 of each of these frames [eV], (n_frames,).
        mixed: Whether the frames differ in composition, so that only E - ΣE0 can be compared.
        forces: Reference and predicted force components [eV/Å], each (n_components,).
        symbols: Element of each component, (n_components,).
        stresses: Reference and predicted stress components [GPa], each (n_components,).
    """

    energies: tuple[np.ndarray, np.ndarray]
    num_atoms: np.ndarray
    isolated: np.ndarray
    mixed: bool
    forces: tuple[np.ndarray, np.ndarray]
    symbols: np.ndarray
    stresses: tuple[np.ndarray, np.ndarray]

    @property
    def energy_errors_per_atom(self) -> np.ndarray:
        """Signed errors [meV/atom]."""
        return 1000 * (self.energies[1] - self.energies[0]) / self.num_atoms

    @property
    def force_errors_by_element(self) -> dict[str, np.ndarray]:
        """Signed errors of force components [meV/Å] by element, light elements first."""
        error = 1000 * (self.forces[1] - self.forces[0])
        symbols = sorted(map(str, np.unique(self.symbols)), key=atomic_numbers.__getitem__)
        return {symbol: error[self.symbols == symbol] for symbol in symbols}


styled = matplotlib.rc_context(STYLE)
"""Decorator: what a function draws has the report's style, and the process keeps its own."""


@styled
def image(figure: Figure, description: str) -> str:
    """Return the figure as an <img> element that holds its own SVG (dense points as a bitmap inside)."""
    file = io.BytesIO()
    figure.savefig(file, format="svg", dpi=200, metadata={"Date": None})
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img alt="{description}" src="data:image/svg+xml;base64,{data}">'


@styled
def save(figure: Figure, path: Path) -> None:
    """Write the figure as a file, of the format that its ending says.

    Raises:
        InputError: If it cannot be written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=200, metadata={"Date": None} if path.suffix == ".svg" else None)


def subplots(rows: int, columns: int, height: float) -> tuple[Figure, np.ndarray]:
    """Return a figure of the page's width with (rows, columns) axes; no global pyplot state."""
    figure = Figure(figsize=(WIDTH, height), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.08))
    return figure, figure.subplots(rows, columns, squeeze=False)


@styled
def parity(sets: Mapping[str, SetErrors]) -> Figure:
    """One row per test set: energies, forces, stresses where there are any, and force errors by element."""
    stress = any(len(values.stresses[0]) for values in sets.values())
    figure, axes = subplots(len(sets), 3 + stress, (2.9 if stress else 3.5) * len(sets))
    for row, (name, values), color in zip(axes, sets.items(), cycle(COLORS), strict=False):
        energy_panel(row[0], values, color)
        row[0].set_title(name)
        parity_panel(row[1], *values.forces, Unit("F", "eV/Å", "meV/Å"), color, size=3)
        if stress:
            parity_panel(row[2], *values.stresses, Unit("σ", "GPa", "GPa"), color, size=6)
        by_element = values.force_errors_by_element
        colors = [
            ELEMENT_COLORS.get(element, c) for element, c in zip(by_element, cycle(COLORS), strict=False)
        ]
        cumulative_panel(row[-1], by_element, "force component error [meV/Å]", colors)
        row[-1].set(ylabel="share of errors below", box_aspect=1)
    return figure


class Unit(NamedTuple):
    """What a parity plot shows: symbol, unit of the axes, and unit of the errors, that unit or its thousandth."""

    symbol: str
    axes: str
    errors: str


def energy_panel(ax: Axes, values: SetErrors, color: str) -> None:
    """Parity of energies about their mean, or less ΣE0 and per atom where compositions differ."""
    E_ref, E = values.energies
    if values.mixed:
        E_ref, E = ((energy - values.isolated) / values.num_atoms for energy in values.energies)
        unit = Unit("(E − ΣE0) / N", "eV/atom", "meV/atom")
    else:
        zero = E_ref.mean() if len(E_ref) else 0.0
        E_ref, E = E_ref - zero, E - zero
        unit = Unit("E − mean", "eV", "meV")
    parity_panel(ax, E_ref, E, unit, color, size=9)


def parity_panel(
    ax: Axes, reference: np.ndarray, predicted: np.ndarray, unit: Unit, color: str, size: float
) -> None:
    """Scatter predicted against reference values and write their MAE and RMSE."""
    ax.set(xlabel=f"reference {unit.symbol} [{unit.axes}]", ylabel=f"predicted {unit.symbol} [{unit.axes}]")
    ax.set_box_aspect(1)
    if len(reference) == 0:
        no_labels(ax)
        return
    low, high = min(reference.min(), predicted.min()), max(reference.max(), predicted.max())
    margin = 0.05 * (high - low) or 1.0
    limits = (low - margin, high + margin)
    ax.plot(limits, limits, color=GREY, lw=0.8, zorder=1)
    dense = len(reference) > 1000
    ax.scatter(
        reference,
        predicted,
        s=size,
        color=color,
        alpha=0.3 if dense else 0.6,
        lw=0,
        rasterized=dense,
        zorder=2,
    )
    error = (predicted - reference) * (1 if unit.errors == unit.axes else 1000)
    mae, rmse = np.abs(error).mean(), np.sqrt((error**2).mean())
    text = f"MAE {mae:.3g} {unit.errors}\nRMSE {rmse:.3g} {unit.errors}"
    ax.text(0.04, 0.96, text, transform=ax.transAxes, va="top", linespacing=1.4)
    ax.set(xlim=limits, ylim=limits)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))


@styled
def error_distributions(sets: Mapping[str, SetErrors]) -> Figure:
    """Share of errors below a size, one line per set: energies, and force components.

    A point (x, y) of a line says that a share y of all errors is smaller than x.
    """
    figure, axes = subplots(1, 2, 3.3)
    energies = {name: values.energy_errors_per_atom for name, values in sets.items()}
    forces = {name: 1000 * (values.forces[1] - values.forces[0]) for name, values in sets.items()}
    cumulative_panel(axes[0, 0], energies, "energy error [meV/atom]")
    cumulative_panel(axes[0, 1], forces, "force component error [meV/Å]")
    axes[0, 0].set_ylabel("share of errors below")
    return figure


@styled
def calibration(sets: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Figure:
    """Calibration curves of error bars: observed against expected coverage, one panel a quantity, one line a set.

    Args:
        sets: By set and quantity, of :func:`multiace.calibration.calibration`.
    """
    titles = {"energy": "energies", "forces": "force components"}
    shown = [quantity for quantity in titles if any(quantity in found for found in sets.values())]
    figure, axes = subplots(1, max(len(shown), 1), 3.9)
    for ax, quantity in zip(axes[0], shown, strict=False):
        ax.plot([0, 1], [0, 1], color=GREY, lw=0.8)
        for (name, found), color in zip(sets.items(), cycle(COLORS), strict=False):
            if quantity in found:
                curve = found[quantity]
                label = f"{name}: area {curve['miscalibration_area']:.3f}"
                ax.plot(curve["expected"], curve["observed"], color=color, label=label)
        ax.set(title=titles[quantity], xlabel="expected share of errors", xlim=(0, 1), ylim=(0, 1))
        ax.set_box_aspect(1)
        ax.legend(loc="upper left")
    axes[0, 0].set_ylabel("observed share of errors")
    return figure


def cumulative_panel(
    ax: Axes, errors: Mapping[str, np.ndarray], label: str, colors: Sequence[str] = COLORS
) -> None:
    """Draw the cumulative distributions of absolute errors on a logarithmic axis."""
    every = np.concatenate([np.abs(error) for error in errors.values()] or [np.zeros(0)])
    if not (every > 0).any():
        no_labels(ax)
        return
    for (name, error), color in zip(errors.items(), cycle(colors), strict=False):
        if len(error) == 0:
            continue
        x = np.sort(np.abs(error))
        share = (np.arange(len(x)) + 0.5) / len(x)
        show = np.unique(np.linspace(0, len(x) - 1, 400).astype(int))
        ax.plot(np.maximum(x[show], 1e-9), share[show], color=color, label=name)
    ax.axhline(0.5, color=GREY, lw=0.7, ls=(0, (4, 3)))
    ax.set(xscale="log", xlabel=label, ylim=(0, 1))
    ax.set_xlim(max(np.quantile(every[every > 0], 0.01), 1e-9), 1.1 * every.max())
    plain_log_ticks(ax.xaxis)
    ax.legend(loc="upper left")


def legend_above(ax: Axes) -> None:
    """Put the legend into room made above the curves."""
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.22 * (high - low))
    ax.legend(loc="upper center", ncols=3, handlelength=1.4, columnspacing=1.2)


def no_labels(ax: Axes) -> None:
    """Say that there is nothing to show."""
    ax.text(0.5, 0.5, "no labels", ha="center", va="center", transform=ax.transAxes, color=GREY)


def plain_log_ticks(axis: Axis) -> None:
    """Label a logarithmic axis with plain numbers: 1, 2, 5 in each decade, powers of ten if it is long."""
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1.0,) if high / low > 300 else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


@styled
def learning_curves(epochs: np.ndarray, panels: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """Quantities against the epoch: one panel per quantity, one line per key, its last value in the legend."""
    figure, axes = subplots(1, len(panels), 3.2)
    for ax, (title, lines) in zip(axes[0], panels.items(), strict=True):
        for (name, values), color in zip(lines.items(), cycle(COLORS), strict=False):
            known = np.isfinite(values) & (values > 0)
            last = f"{name} {values[known][-1]:.3g}" if known.any() else name
            ax.plot(epochs[known], values[known], color=color, label=last)
        ax.set(yscale="log", xlabel="epoch", title=title)
        plain_log_ticks(ax.yaxis)
        ax.legend()
    return figure


@styled
def scan(
    coordinate: np.ndarray,
    reference: np.ndarray,
    predicted: np.ndarray,
    contributions: np.ndarray,
    label: str,
) -> Figure:
    """Energy along a path: model and reference, their difference, and what each layer contributes.

    Energies are relative to the frame where the reference is lowest (its own value for each curve).

    Args:
        coordinate: Path coordinate, ascending, shape (n_frames,).
        reference: [eV], shape (n_frames,).
        predicted: [eV], shape (n_frames,).
        contributions: Energies of the layers [eV], shape (n_frames, n_layers).
        label: What the coordinate is, with its unit.
    """
    figure, axes = subplots(1, 3, 3.5)
    curve, difference, layers = axes[0]
    lowest = int(np.argmin(reference))
    E_ref, E = reference - reference[lowest], predicted - predicted[lowest]
    curve.plot(coordinate, E, color=COLORS[0], label="model")
    curve.plot(coordinate, E_ref, "o", ms=4, mfc="white", mec=INK, mew=1, label="reference")
    curve.set(title="energy", ylabel="energy − at the minimum [eV]")
    legend_above(curve)
    difference.axhline(0, color=GREY, lw=0.8)
    difference.plot(coordinate, 1000 * (E - E_ref), color=COLORS[1], marker="o", ms=3)
    difference.set(title="model − reference", ylabel="[meV]")
    layers.axhline(0, color=GREY, lw=0.8)
    shades = matplotlib.colormaps["YlGnBu"](np.linspace(0.4, 0.95, contributions.shape[1]))
    for t, color in enumerate(shades):
        layers.plot(
            coordinate, contributions[:, t] - contributions[lowest, t], color=color, label=f"layer {t + 1}"
        )
    layers.set(title="what each layer adds", ylabel="energy − at the minimum [eV]")
    legend_above(layers)
    for ax in axes[0]:
        ax.set_xlabel(label)
    return figure


@styled
def dynamics(samples: Sequence[Sample], conserved: bool = True) -> Figure:
    """Energy per atom and temperature against time.

    Args:
        samples: Of one trajectory.
        conserved: Whether the total energy should be constant: it is drawn with its least-squares line;
            otherwise the potential energy is drawn, from its mean.
    """
    figure, axes = subplots(1, 2, 3.2)
    t = np.array([sample.time for sample in samples])
    if conserved:
        H = 1000 * np.array([sample.total / sample.num_atoms for sample in samples])
        drift = energy_drift(samples)
        line = H.mean() + drift.slope * (t - t.mean())
        axes[0, 0].plot(t, H - line[0], color=COLORS[0], lw=0.9)
        axes[0, 0].plot(t, line - line[0], color=COLORS[1], label=f"slope {drift.slope:+.2g} meV/atom/ps")
        axes[0, 0].set(title="conservation of energy", xlabel="time [ps]", ylabel="total energy [meV/atom]")
        legend_above(axes[0, 0])
    else:
        V = 1000 * np.array([sample.potential / sample.num_atoms for sample in samples])
        axes[0, 0].plot(t, V - V.mean(), color=COLORS[0], lw=0.9)
        axes[0, 0].set(title="potential energy", xlabel="time [ps]", ylabel="energy − mean [meV/atom]")
    axes[0, 1].plot(t, [sample.temperature for sample in samples], color=COLORS[2], lw=0.9)
    axes[0, 1].set(title="temperature", xlabel="time [ps]", ylabel="T [K]")
    return figure
