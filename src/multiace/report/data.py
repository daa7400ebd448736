"""The part of the report about the data that a run was made from: what their check found, and histograms."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from multiace.report import html
from multiace.report.figures import COLORS, plain_log_ticks, styled, subplots
from multiace.report.html import Section

__all__ = ["data_section", "histograms"]

PANELS = {
    "energy": "(E - ΣE0)/N [eV]",
    "forces": "force on an atom [eV/Å]",
    "distance": "distance of a pair [Å]",
}


def data_section(path: Path) -> Section:
    """Files, findings and histograms, from the ``data_check.json`` of a run."""
    check = json.loads(path.read_text(encoding="utf-8"))
    rows = [file_row(facts) for facts in check["files"]]
    head = ("set", "file", "elements", "frames", "energies", "forces", "stresses")
    body = html.table(head, rows, "Structures and labels, isolated atoms included.", numbers=4)
    findings = [(found["severity"], found["code"], found["sentence"]) for found in check["findings"]]
    if findings:
        body += html.table(("", "kind", "found"), findings, "What the check of the data found.")
    body += html.figure(
        histograms(check["histograms"]),
        "Histograms of energies, forces and distances of the training, validation and test sets",
        f"Energies per atom, counted from E0 ({check['reference'].replace('_', ' ')}); sizes of forces; distances of "
        "pairs up to the cutoff. Each curve has the area one, that of forces over the logarithm.",
    )
    return Section("Data", body)


def file_row(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """Cells of a file."""
    counts = dict.fromkeys(("energy", "forces", "stress"), 0)
    for entry in facts["labels"]:
        counts[entry["label"]] += entry["frames"]
    numbers = (f"{n:,}" for n in (facts["frames"], *counts.values()))
    return facts["set"], Path(facts["file"]).name, " ".join(facts["elements"]), *numbers


@styled
def histograms(sets: Mapping[str, Mapping[str, Mapping[str, list[float]]]]) -> Figure:
    """One panel a quantity, one curve a set: density against value.

    Args:
        sets: By set and quantity: ``edges`` (n + 1) and ``counts`` (n).
    """
    figure, axes = subplots(1, len(PANELS), 3.0)
    for ax, (quantity, label) in zip(axes[0], PANELS.items(), strict=True):
        if quantity == "forces":
            ax.set_xscale("log")
        for (name, found), color in zip(sets.items(), cycle(COLORS), strict=False):
            if quantity in found:
                steps(
                    ax, np.array(found[quantity]["edges"]), np.array(found[quantity]["counts"]), name, color
                )
        ax.set(xlabel=label, ylim=(0, None))
        if ax.get_legend_handles_labels()[0]:
            ax.legend()
    axes[0, 0].set_ylabel("density")
    return figure


def steps(ax: Axes, edges: np.ndarray, counts: np.ndarray, name: str, color: str) -> None:
    """Draw a histogram as a line, from its first to its last count."""
    filled = np.flatnonzero(counts)
    part = slice(filled[0], filled[-1] + 1)
    widths = np.diff(np.log10(edges) if ax.get_xscale() == "log" else edges)
    ax.stairs(
        counts[part] / counts.sum() / widths[part], edges[filled[0] : filled[-1] + 2], color=color, label=name
    )
    if ax.get_xscale() == "log":
        plain_log_ticks(ax.xaxis)
