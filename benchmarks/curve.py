"""Draw validation errors against training time: ``python benchmarks/curve.py RUN_FOLDER FIGURE.svg``."""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np


def draw(run: Path, figure: Path) -> None:
    """Read ``metrics.csv`` of the run and write the figure."""
    rows = np.genfromtxt(run / "metrics.csv", delimiter=",", names=True)
    panels = {
        "valid_forces_rmse": "force RMSE [meV/Å]",
        "valid_energy_rmse": "energy RMSE [meV]",
    }
    drawing, axes = plt.subplots(1, 2, figsize=(8.5, 3.2), layout="constrained")
    for ax, (column, label) in zip(axes, panels.items(), strict=True):
        ax.plot(rows["seconds"] / 60, rows[column], color="#1f77b4", linewidth=1.2)
        ax.set(xlabel="training time [min]", ylabel=f"validation {label}", yscale="log", xlim=(0, None))
        ax.grid(True, which="both", alpha=0.3)
    drawing.savefig(figure, metadata={"Date": None})


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
