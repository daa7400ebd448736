"""Add a choice from outside: a radial basis of your own, named in the config as module:Class."""

from pathlib import Path

import torch
from ase.build import molecule

from multiace import RunConfig, build_graph, fit, load

HERE = Path(__file__).parent

# own_basis.py lies beside this script, so Python finds it. The config, and with it the run file and the
# model file, holds the name only: whoever loads the model needs the module too.
changes = ["model.radial_basis=own_basis:InversePowers", "model.trainable_radial=true", "train.max_epochs=5"]
run = RunConfig.read(HERE / "3_fit.yaml", changes)
potential = fit(run, "runs/examples/6_own_radial_basis")

basis = potential.network.radial_basis.basis
print(f"radial basis: {type(basis).__name__}, r0 trained from {run.model.cutoff / 4:.3f} to {basis.r0:.3f} Å")

# All of multiace works with it: forces are derivatives of the energy, the model is saved and loaded.
again = load("runs/examples/6_own_radial_basis/model.safetensors", dtype="float64")
atoms = molecule("C2H4")
atoms.rattle(0.05, seed=0)
step = 1e-4
energies = []
for sign in (1, -1):
    moved = atoms.copy()
    moved.positions[0, 0] += sign * step
    energies.append(float(again(build_graph(moved, again.elements, again.cutoff), forces=False).energy))
prediction = again(build_graph(atoms, again.elements, again.cutoff))
numerical = -(energies[0] - energies[1]) / (2 * step)
print(
    f"force on the first atom, x: {float(prediction.forces[0, 0]):.6f} eV/Å, by differences {numerical:.6f}"
)
assert torch.isclose(prediction.forces[0, 0], torch.tensor(numerical, dtype=torch.float64), atol=1e-5)
