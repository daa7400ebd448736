"""Add a choice from outside: a radial basis of your own, named in the config as module:Class."""

from pathlib import Path

import torch
from ase.build import molecule

from multiace import RunConfig, build_graph, fit, load

HERE = Path(__file__).parent

# own_basis.py lies beside this script, so Python finds it. The config, and with it the run file and the
# model file, holds the name only: whoever loads the model needs the module too.
run = RunConfig.read(
    HERE / "3_fit.yaml",
    ["model.radial_basis=own_basis:ExponentialGaussians", "model.num_radial=24", "train.learning_rate=0.02"],
)
potential = fit(run, "runs/examples/6_own_radial_basis")
print(f"radial basis: {type(potential.network.radial_basis.basis).__name__}")

# All of multiace works with it: forces are derivatives of the energy, the model is saved and loaded. A model
# file must not run code just because it names some, so say that you trust it.
path = "runs/examples/6_own_radial_basis/model.safetensors"
again = load(path, dtype="float64", outside_code=True)
atoms = molecule("C2H4")
atoms.rattle(0.05, seed=0)
step = 1e-4
energies = []
for sign in (1, -1):
    moved = atoms.copy()
    moved.positions[0, 0] += sign * step
    with torch.no_grad():
        prediction = again(build_graph(moved, again.elements, again.cutoff), forces=False)
    energies.append(float(prediction.energy))
force = float(again(build_graph(atoms, again.elements, again.cutoff)).forces[0, 0])
numerical = -(energies[0] - energies[1]) / (2 * step)
print(f"force on the first atom, x: {force:.6f} eV/Å, by differences {numerical:.6f}")
assert abs(force - numerical) < 1e-5
