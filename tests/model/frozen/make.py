"""Freeze model files of the present schema, and what they say about two structures.

``MULTIACE_OPS=reference python -m tests.model.frozen.make tests/model/frozen/schema-2``, once for each schema. A
file that is there is not made again: it stands for those that users have.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch

from multiace.deploy.ase import Calculator
from multiace.model.potential import Potential, Statistics
from multiace.model.presets import PRESETS
from tests.potentials import crystal, methanol

CHANNELS = {
    "ace": "4x0e",
    "botnet": "4x0e + 4x1o + 4x2e",
    "mace": "4x0e + 4x1o",
    "nequip": "4x0e + 4x1o + 4x2e",
}
MLP = {"radial_widths": (8,)}


def freeze(name: str, path: Path) -> dict[str, dict]:
    """Write a model with random weights; return the structures with its energies, forces and stresses."""
    config = PRESETS[f"{name}-small"].replace(
        elements=("H", "C", "O"),
        cutoff=3.5,
        num_layers=min(2, PRESETS[f"{name}-small"].num_layers),
        hidden_irreps=CHANNELS[name],
        zbl=name == "ace",
        **({} if name == "ace" else MLP),
    )
    torch.manual_seed(sum(map(ord, name)))
    statistics = Statistics(np.array([-13.6, -1027.0, -2038.0]), scale=10.0, shift=-0.2, num_neighbors=8.0)
    metrics = {"test": {"forces": {"mae": 12.0, "rmse": 20.0, "spread": 900.0, "count": 540}}}
    Potential(config, statistics).save(path, metrics=metrics, provenance={"epoch": 3})
    return {kind: numbers(path, atoms) for kind, atoms in (("molecule", methanol()), ("crystal", crystal()))}


def numbers(path: Path, atoms) -> dict:
    """A structure and what the model says about it, as plain values."""
    atoms.calc = Calculator(Potential.load(path, dtype="float64"), skin=0.0, radial="network")
    return {
        "numbers": atoms.numbers.tolist(),
        "positions": atoms.positions.tolist(),
        "cell": atoms.cell.tolist(),
        "pbc": atoms.pbc.tolist(),
        "energy": atoms.get_potential_energy(),
        "forces": atoms.get_forces().tolist(),
        "stress": atoms.get_stress().tolist() if atoms.pbc.all() else None,
    }


def main(folder: Path) -> None:
    """Freeze all that the folder has not."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in CHANNELS:
        path = folder / f"{name}.safetensors"
        if not path.exists():
            content = json.dumps(freeze(name, path), separators=(",", ":"))
            path.with_suffix(".json").write_text(content + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
