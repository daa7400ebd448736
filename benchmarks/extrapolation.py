"""Draw models side by side far outside of their data: ``python benchmarks/extrapolation.py MODEL... --out FIGURE.svg``.

Models of ethanol (model files or run folders) along the scans of the ethanol data: dimers of every pair of elements,
removal of the hydroxyl hydrogen, and two normal modes; with error bars, where a model has them.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from multiace import evaluate, load

HERE = Path(__file__).parent
SCANS = {
    "test_dimers.xyz": "distance",
    "test_H_removal.xyz": "OH_dist",
    "test_norm_mode_874.xyz": "displacement",
    "test_norm_mode_3005.xyz": "displacement",
}
AXES = {"distance": "distance [Å]", "OH_dist": "O-H distance [Å]", "displacement": "displacement"}
ABOVE, BELOW = 12.0, 3.0  # eV above and below the reference that are drawn


@dataclass(frozen=True)
class Curve:
    """A model along a path: coordinate, energies of the reference and of the model, and error bars [eV], if any."""

    title: str
    axis: str
    x: np.ndarray
    reference: np.ndarray
    predicted: np.ndarray
    std: np.ndarray | None

    def words(self) -> str:
        """Its error, and how much of it the error bars tell."""
        error = self.predicted - self.reference
        text = f"RMSE {np.sqrt(np.mean(error**2)):10.3f} eV, largest {np.abs(error).max():10.3f} eV"
        if self.std is not None:
            text += f", within 2σ {np.mean(np.abs(error) < 2 * self.std):.2f}"
        return text


def curves(model: str, folder: Path) -> list[Curve]:
    """Evaluate a model along all paths."""
    potential, found = load(model), []
    for file, coordinate in SCANS.items():
        result = evaluate(potential, folder / file, uncertainty=potential.committee is not None)
        types = np.array([frame.config_type for frame in result.frames])
        x = np.array([float(frame.atoms.info[coordinate]) for frame in result.frames])
        reference = np.array([frame.energy for frame in result.frames])
        for name in dict.fromkeys(types):
            chosen = np.flatnonzero(types == name)[np.argsort(x[types == name])]
            std = None if result.energy_std is None else result.energy_std[chosen]
            title = Path(file).stem.removeprefix("test_").replace("_", " ")
            title = f"{name} dimer" if file == "test_dimers.xyz" else title
            found.append(
                Curve(title, AXES[coordinate], x[chosen], reference[chosen], result.energies[chosen], std)
            )
    return found


def draw(ax: Axes, curve: Curve, name: str) -> None:
    """One model along one path; energies relative to the lowest of the reference."""
    zero = curve.reference.min()
    E = curve.predicted - zero
    ax.plot(curve.x, curve.reference - zero, "k.", markersize=3, label="PBE")
    (line,) = ax.plot(curve.x, E, linewidth=1.2, label=name)
    if curve.std is not None:
        low, high = E - 2 * curve.std, E + 2 * curve.std
        ax.fill_between(curve.x, low, high, color=line.get_color(), alpha=0.25, linewidth=0, label="2σ")
    top = (curve.reference - zero).max()
    ax.set_ylim(-BELOW, min(top, 30.0) + (BELOW if top < ABOVE else ABOVE))


def main() -> None:
    """Read the command line, evaluate, print and draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("MULTIACE_DATA", HERE / "data")))
    parser.add_argument("--out", type=Path, required=True, help="figure, SVG or PNG")
    arguments = parser.parse_args()
    of_models = {Path(model).name: curves(model, arguments.data / "ethanol") for model in arguments.models}
    rows = len(next(iter(of_models.values())))
    with plt.rc_context({"svg.hashsalt": "multiace", "svg.fonttype": "none", "font.size": 8}):
        figure, axes = plt.subplots(
            rows,
            len(of_models),
            figsize=(3.2 * len(of_models), 1.9 * rows),
            layout="constrained",
            squeeze=False,
        )
        for column, (name, found) in enumerate(of_models.items()):
            for ax, curve in zip(axes[:, column], found, strict=True):
                draw(ax, curve, name)
                ax.set(xlabel=curve.axis, title=f"{name}: {curve.title}")
                ax.grid(True, alpha=0.2)
                print(f"{name:20} {curve.title:16} {curve.words()}")
            axes[0, column].legend(frameon=False)
        for ax in axes[:, 0]:
            ax.set_ylabel("energy [eV]")
        figure.savefig(arguments.out, metadata={"Date": None} if arguments.out.suffix == ".svg" else None)


if __name__ == "__main__":
    main()
