"""Results as figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

__all__ = ["draw"]

Record = dict[str, Any]


def draw(result: Record, path: Path) -> None:
    """Draw a result into an SVG file, if it has something to draw."""
    scaling = {"speed": ("train", "inference"), "inference": ("inference",)}.get(result["kind"], ())
    points = {record["point"] for record in result["records"]}
    if scaling and len(points) > 2 and all(point.isdecimal() for point in points):
        panels = [(against_size, key) for key in scaling]
    elif result["kind"] == "fit":
        panels = [(against_time, key) for key in ("forces_rmse", "energy_rmse")]
    elif result["kind"] == "roofline":
        panels = [(under_roof, "")]
    else:
        return
    with plt.rc_context({"svg.hashsalt": "multiace", "svg.fonttype": "none", "font.size": 9}):
        figure, axes = plt.subplots(
            1, len(panels), figsize=(4.4 * len(panels), 3.2), layout="constrained", squeeze=False
        )
        for (panel, key), ax in zip(panels, axes[0], strict=True):
            panel(ax, result["records"], key)
            if panel is against_size:
                ax.set_xlabel(result["row"].removeprefix("scaling-"))
            ax.grid(True, which="both", alpha=0.2)
            ax.legend(frameon=False)
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


def against_size(ax: Axes, records: list[Record], key: str) -> None:
    """Time against the number that the row changes."""
    for code, own in by_code(records).items():
        own = [record for record in own if key in record]
        sizes = [float(record["point"]) for record in own]
        ax.plot(sizes, [1e3 * record[key]["median"] for record in own], "o-", markersize=3, label=code)
    wide = max(sizes) > 50.0 * max(min(sizes), 1.0)
    ax.set(
        ylabel={"train": "training step [ms]", "inference": "energy + forces [ms]"}[key],
        yscale="log",
        xscale="log" if wide else "linear",
    )


def against_time(ax: Axes, records: list[Record], key: str) -> None:
    """Errors on held-out frames against training time."""
    for code, own in by_code(records).items():
        curve = own[0]["curve"]
        ax.plot([place["spent"] for place in curve], [place[key] for place in curve], ".-", label=code)
    unit = {"forces_rmse": "force RMSE [meV/Å]", "energy_rmse": "energy RMSE [meV]"}[key]
    ax.set(xlabel="training time [s]", ylabel=unit, yscale="log", xlim=(0, None))


def under_roof(ax: Axes, records: list[Record], _: str) -> None:
    """Attained FLOP/s against FLOP per byte, under the peak and the bandwidth."""
    peak, bandwidth = (max(record[key] for record in records) for key in ("peak", "bandwidth"))
    counted = [record for record in records if record.get("flop")]
    intensities = [record["flop"] / record["bytes"] for record in counted]
    x = np.geomspace(min(intensities) / 2.0, max([*intensities, peak / bandwidth]) * 2.0, 200)
    ax.plot(x, 1e-9 * np.minimum(peak, bandwidth * x), color="0.5", label="bound")
    for name in dict.fromkeys(record["operation"].split(",")[0].split(" (")[0] for record in counted):
        own = [record for record in counted if record["operation"].startswith(name)]
        ax.scatter(
            [record["flop"] / record["bytes"] for record in own],
            [1e-9 * record["flop"] / record["seconds"] for record in own],
            [10.0 + 300.0 * record["seconds"] / record["step_seconds"] for record in own],
            alpha=0.6,
            label=name,
        )
    ax.set(xlabel="FLOP per byte", ylabel="GFLOP/s", xscale="log", yscale="log")


def by_code(records: list[Record]) -> dict[str, list[Record]]:
    """Records of each code and family, in their order."""
    codes: dict[str, list[Record]] = {}
    for record in records:
        codes.setdefault(f"{record['code']}, as {record['like']}", []).append(record)
    return codes
