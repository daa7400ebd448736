"""Learning curves on ethanol: ``python benchmarks/learning.py --out FOLDER``.

Fits each model to more and more frames of ``ethanol/train.xyz`` and tests it on ``test_MD.xyz``; what is not solved for
trains for as many minutes as given. Runs that are complete are read, so that the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ase.io
import matplotlib.pyplot as plt
import yaml

HERE = Path(__file__).parent
SOLVED = {"energy_weight": 100}
TRAINED = {
    "energy_weight": 10,
    "max_epochs": 1_000_000,
    "second_stage_start": 0.8,
    "second_stage_energy_weight": 1000,
    "checkpoint_every": 1000,
    "threads": 1,
}


def fitted(model: str, frames: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Fit a model to the first frames, and return its errors and the minutes it took."""
    out, data = arguments.out.resolve(), arguments.data.resolve() / "ethanol"
    folder = out / f"{model}-{frames}"
    if not (folder / "summary.json").exists():
        out.mkdir(parents=True, exist_ok=True)
        train = out / f"train-{frames}.xyz"
        ase.io.write(train, ase.io.read(data / "train.xyz", f":{frames}"))
        solved = model == "ace"
        run = {
            "model": {"preset": model},
            "data": {
                "train": [str(train), str(data / "isolated_atoms.xyz")],
                "valid": str(data / "test_MD.xyz") if solved else 0.1,
                "test": [] if solved else [str(data / "test_MD.xyz")],
            },
            "train": SOLVED if solved else TRAINED | {"max_minutes": arguments.minutes},
        }
        file = out / f"{model}-{frames}.yaml"
        file.write_text(yaml.safe_dump(run))
        command = [sys.executable, "-m", "multiace", "train", str(file), "--folder", str(folder)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    summary = json.loads((folder / "summary.json").read_text())
    errors = summary["errors"].get("test_MD.xyz") or summary["errors"]["valid"]
    found = {"model": model, "frames": frames, "minutes": summary["seconds"] / 60}
    return found | {quantity: errors[quantity]["mae"] for quantity in ("forces", "energy")}


def main() -> None:
    """Read the command line, fit, print and draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--models", default="ace,botnet-small,mace-small")
    parser.add_argument("--frames", default="50,100,200,500,1000")
    parser.add_argument("--minutes", type=float, default=10.0, help="of training by gradients (%(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="runs by gradients at a time (%(default)s)")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("MULTIACE_DATA", HERE / "data")))
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    sizes, models = [int(n) for n in arguments.frames.split(",")], arguments.models.split(",")
    jobs = {(model, n): None for model in models for n in sizes}
    results = [fitted(*job, arguments) for job in jobs if job[0] == "ace"]  # alone: it uses all cores
    with ThreadPoolExecutor(arguments.jobs) as pool:
        results += pool.map(lambda job: fitted(*job, arguments), [job for job in jobs if job[0] != "ace"])
    print("| model | frames | minutes | force MAE [meV/Å] | energy MAE [meV] |\n|---|---|---|---|---|")
    for r in results:
        print(
            f"| `{r['model']}` | {r['frames']} | {r['minutes']:.1f} | {r['forces']:.1f} | {r['energy']:.2f} |"
        )
    draw(results, arguments.out / "learning.svg")


def draw(results: list[dict[str, Any]], path: Path) -> None:
    """Errors against frames, and against the time of fitting."""
    labels = {"forces": "force MAE [meV/Å]", "energy": "energy MAE [meV]"}
    with plt.rc_context({"svg.hashsalt": "multiace", "svg.fonttype": "none", "font.size": 9}):
        figure, axes = plt.subplots(2, 2, figsize=(8.4, 6.0), layout="constrained", sharey="row")
        for row, (quantity, label) in zip(axes, labels.items(), strict=True):
            for ax, key, name in zip(
                row, ("frames", "minutes"), ("frames", "fitting time [min]"), strict=True
            ):
                for model in dict.fromkeys(r["model"] for r in results):
                    own = [r for r in results if r["model"] == model]
                    ax.plot(
                        [r[key] for r in own], [r[quantity] for r in own], "o-", markersize=3, label=model
                    )
                ax.set(xscale="log", yscale="log", xlabel=name)
                ax.grid(True, which="both", alpha=0.2)
            row[0].set_ylabel(label)
        axes[0, 0].legend(frameon=False)
        figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
