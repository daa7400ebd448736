"""The figures of a study, each a function from numbers to a matplotlib Figure whose parts say what they are."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from multiace.report.figures import COLORS, GREY, INK, STYLE, plain_log_ticks, subplots
from multiace.study.report.svg import Series, mark

__all__ = ["Bar", "Curve", "Dot", "Panel", "Trend", "curves", "forest", "pareto", "series", "trends"]

PALETTE = (*COLORS[:5], "#2f5fd0", "#c8323a", "#44546a")
FAR = 10  # ranges of the reference: a curve that is farther from it leaves its panel
styled = rc_context({**STYLE, "text.parse_math": False})
"""Decorator: the style of the reports; a $ in a name is a $."""


def series(names: Mapping[str, str]) -> dict[str, Series]:
    """Give each key a colour, dashed where the colours are used up, beside its name."""
    n = len(PALETTE)
    return {
        key: Series(key, name, PALETTE[k % n], dashed=k // n % 2 == 1)
        for k, (key, name) in enumerate(names.items())
    }


@dataclass(frozen=True)
class Bar:
    """A number with its interval.

    Attributes:
        row: Which row it is in.
        series: Whose it is.
        value: The number.
        low: Lower end of its interval, or NaN.
        high: Upper end.
        dots: Numbers of single runs.
        tip: What is told of it.
    """

    row: str
    series: str
    value: float
    low: float
    high: float
    tip: str
    dots: tuple[float, ...] = ()


@styled
def forest(panels: Mapping[str, Sequence[Bar]], legend: Mapping[str, Series], differences: bool) -> Figure:
    """Numbers with their intervals: a panel for each title, a row for each name, a colour for each series.

    Args:
        panels: By title.
        legend: By key.
        differences: Numbers are differences, with a line at zero; else they are positive.
    """
    rows = list(dict.fromkeys(bar.row for bars in panels.values() for bar in bars))
    beside = {
        title: [key for key in legend if key in {bar.series for bar in bars}]
        for title, bars in panels.items()
    }
    height = max(0.36, 0.19 + 0.085 * max(map(len, beside.values())))
    figure, axes = subplots(1, len(panels), 0.9 + height * len(rows))
    for ax, (title, bars) in zip(axes[0], panels.items(), strict=True):
        keys = beside[title]
        offsets = dict(zip(keys, np.linspace(-0.45, 0.45, len(keys) + 2)[1:-1], strict=True))
        for bar in bars:
            y, color = rows.index(bar.row) + offsets[bar.series], legend[bar.series].color
            parts = []
            if bar.dots:
                parts += ax.plot(bar.dots, [y] * len(bar.dots), "|", color=color, ms=6, mew=0.8, alpha=0.6)
            if np.isfinite([bar.low, bar.high]).all() and bar.low < bar.high:
                parts += ax.plot([bar.low, bar.high], [y, y], color=color, lw=1.6, solid_capstyle="butt")
            filled = not differences or bar.low > 0 or bar.high < 0
            parts += ax.plot(bar.value, y, "o", ms=5.5, mec=color, mfc=color if filled else "white", mew=1.3)
            mark(parts, bar.series, bar.tip)
        scale(ax, bars, differences)
        ax.set(title=textwrap.fill(title.partition(" [")[0], 80 // len(panels)), ylim=(len(rows) - 0.5, -0.5))
        ax.set_yticks(range(len(rows)), labels=[])
        ax.grid(visible=False, axis="y")
        for k in range(1, len(rows)):
            ax.axhline(k - 0.5, color=GREY, lw=0.3)
        ax.set_xlabel(title.partition(" [")[2].rstrip("]"))
        ax.tick_params(axis="y", length=0)
    together = "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}"
    axes[0, 0].set_yticklabels([textwrap.fill(row.replace(" = ", together), 36) for row in rows])
    return figure


def scale(ax: Axes, bars: Sequence[Bar], differences: bool) -> None:
    """Choose an axis by the numbers."""
    values = np.array([x for bar in bars for x in (bar.value, *bar.dots)])
    if differences:
        ax.axvline(0, color=INK, lw=0.8)
        values = np.append(values, 0.0)
    elif values.min() > 0 and values.max() > 20 * values.min():
        ax.set_xscale("log")
        ax.set_xlim(values.min() / 1.5, values.max() * 1.5)
        plain_log_ticks(ax.xaxis)
        return
    ends = [x for bar in bars for x in (bar.low, bar.high)]
    ax.set_xlim(*around(values, ends, floor=-np.inf if differences else 0.0))


def around(values: np.ndarray, ends: Sequence[float], floor: float = -np.inf) -> tuple[float, float]:
    """Limits of an axis that shows numbers, and of their intervals what is as near as they are to each other.

    Args:
        values: The numbers.
        ends: Of their intervals.
        floor: What numbers cannot be below, though intervals may reach there.
    """
    span = float(np.ptp(values)) or abs(float(values[0])) or 1.0
    shown = np.clip([x for x in ends if np.isfinite(x)], values.min() - span, values.max() + span)
    low, high = (float(f(np.append(values, shown))) for f in (np.min, np.max))
    margin = 0.06 * (high - low) or 0.5 * span
    return max(low - margin, floor - 0.5 * margin), high + margin


@dataclass(frozen=True)
class Curve:
    """A curve of a point: what its runs have in common, and how far they are apart.

    Attributes:
        x: (n,).
        runs: y of each run, (n_runs, n).
        tip: What is told of it.
    """

    x: np.ndarray
    runs: np.ndarray
    tip: str


@dataclass(frozen=True)
class Panel:
    """A panel of curves.

    Attributes:
        title: Above it.
        x: What x is, with its unit.
        y: What y is.
        curves: By series.
        reference: x and y that the curves should follow.
        log: Whether y is logarithmic.
    """

    title: str
    x: str
    y: str
    curves: dict[str, Curve]
    reference: tuple[np.ndarray, np.ndarray] | None = None
    log: bool = False


def side_by_side(number: int) -> tuple[Figure, list[Axes]]:
    """A figure with so many panels, two beside each other."""
    columns = min(number, 2)
    rows = -(-number // columns)
    figure, axes = subplots(rows, columns, 3.3 * rows)
    for ax in axes.ravel()[number:]:
        ax.set_axis_off()
    return figure, list(axes.ravel()[:number])


@styled
def curves(panels: Sequence[Panel], legend: Mapping[str, Series]) -> Figure:
    """Curves with their spread over seeds, from the lowest to the highest, two panels beside each other."""
    figure, axes = side_by_side(len(panels))
    for ax, panel in zip(axes, panels, strict=True):
        for key, curve in panel.curves.items():
            style: dict[str, Any] = {"color": legend[key].color, "ls": "--" if legend[key].dashed else "-"}
            parts = ax.plot(curve.x, curve.runs.mean(0), lw=1.5, **style)
            band = ax.fill_between(
                curve.x, curve.runs.min(0), curve.runs.max(0), color=style["color"], alpha=0.15, lw=0
            )
            mark([band, *parts], key, curve.tip)
        if panel.reference is not None:
            (dots,) = ax.plot(*panel.reference, "o", ms=3.5, mfc="white", mec=INK, mew=0.9)
            mark([dots], "reference", "reference")
        limits(ax, panel)
        ax.set(title=panel.title, xlabel=panel.x, ylabel=panel.y)
    return figure


def limits(ax: Axes, panel: Panel) -> None:
    """Show the reference and all means that are not far from it, or without one most of the means."""
    if panel.log:
        ax.set_yscale("log")
        plain_log_ticks(ax.yaxis)
        return
    means = [curve.runs.mean(0) for curve in panel.curves.values()]
    if panel.reference is None:
        E = np.concatenate(means)
        low, high = np.quantile(E, [0.05, 0.9])  # walls take more of a curve than holes
        room = 0.6 * (high - low)
        low, high = max(E.min(), low - room), min(E.max(), high + room)
    else:
        E = panel.reference[1]
        far = FAR * (float(np.ptp(E)) or 1.0)
        near = [mean for mean in means if np.all((mean > E.min() - far) & (mean < E.max() + far))]
        low, high = (f(np.concatenate([E, *near])) for f in (np.min, np.max))
    margin = 0.06 * (float(high - low) or 1.0)
    ax.set_ylim(low - margin, high + margin)


@dataclass(frozen=True)
class Dot:
    """A point of a plot: x, such as its cost, its error with an interval, and whether another point beats it."""

    x: float
    value: float
    low: float
    high: float
    beaten: bool
    tip: str


@styled
def pareto(
    panels: Mapping[str, Mapping[str, Dot]],
    fronts: Mapping[str, Sequence[str]],
    legend: Mapping[str, Series],
    y: str,
) -> Figure:
    """Error against cost, a panel for each cost; the front is a line, what is beaten is hollow.

    Args:
        panels: By title of the cost and series.
        fronts: Series on the front of each panel, by rising cost.
        legend: By key.
        y: What the error is.
    """
    figure, axes = subplots(1, len(panels), 3.4)
    for ax, (title, dots) in zip(axes[0], panels.items(), strict=True):
        line = [dots[key] for key in fronts[title]]
        ax.step([d.x for d in line], [d.value for d in line], where="post", color=GREY, lw=1.0, zorder=1)
        for key, dot in dots.items():
            color, parts = legend[key].color, []
            if np.isfinite([dot.low, dot.high]).all():
                parts += ax.plot([dot.x] * 2, [dot.low, dot.high], color=color, lw=1.2, alpha=0.7)
            face = "white" if dot.beaten else color
            marker = "s" if legend[key].dashed else "o"
            parts += ax.plot(dot.x, dot.value, marker, ms=7, mec=color, mfc=face, mew=1.5)
            mark(parts, key, dot.tip)
        costs, values = (np.array([getattr(d, name) for d in dots.values()]) for name in ("x", "value"))
        if spans(costs):
            ax.set_xscale("log")
            plain_log_ticks(ax.xaxis)
        else:
            ax.locator_params(axis="x", nbins=4)
        ax.set(
            ylim=around(values, [x for d in dots.values() for x in (d.low, d.high)], floor=0.0), xlabel=title
        )
    axes[0, 0].set_ylabel(y)
    return figure


def spans(values: np.ndarray) -> bool:
    """Whether positive numbers are so different that their axis is logarithmic."""
    return bool(values.min() > 0 and values.max() > 3 * values.min())


@dataclass(frozen=True)
class Trend:
    """A panel of an error against a number.

    Attributes:
        title: Above it.
        x: What the number is.
        y: What the error is.
        lines: Points of each series, by rising x.
    """

    title: str
    x: str
    y: str
    lines: Mapping[str, Sequence[Dot]]


@styled
def trends(panels: Sequence[Trend], legend: Mapping[str, Series]) -> Figure:
    """Errors against a number with their intervals, two panels beside each other."""
    figure, axes = side_by_side(len(panels))
    for ax, panel in zip(axes, panels, strict=True):
        for key, dots in panel.lines.items():
            color, dashes = legend[key].color, "--" if legend[key].dashed else "-"
            line = ax.plot(
                [d.x for d in dots], [d.value for d in dots], dashes, color=color, lw=1.2, alpha=0.7
            )
            mark(line, key, legend[key].name)
            for dot in dots:
                parts = ax.plot(dot.x, dot.value, "o", ms=5.5, color=color)
                if np.isfinite([dot.low, dot.high]).all() and dot.low < dot.high:
                    parts += ax.plot([dot.x] * 2, [dot.low, dot.high], color=color, lw=1.4)
                mark(parts, key, dot.tip)
        every = [dot for dots in panel.lines.values() for dot in dots]
        x, y = (np.array([getattr(dot, name) for dot in every]) for name in ("x", "value"))
        if spans(x):
            ax.set_xscale("log")
            ax.set_xticks(np.unique(x), [f"{value:,g}" for value in np.unique(x)])
            ax.set_xticks([], minor=True)
        else:
            ax.set_xticks(np.unique(x))
        if spans(y):
            ax.set_yscale("log")
            ax.set_ylim(y.min() / 1.3, y.max() * 1.3)
            plain_log_ticks(ax.yaxis)
        else:
            ax.set_ylim(*around(y, [end for dot in every for end in (dot.low, dot.high)], floor=0.0))
        ax.set(title=panel.title, xlabel=panel.x, ylabel=panel.y)
    return figure
