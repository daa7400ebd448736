"""Molecular dynamics with the model as an ASE calculator."""

from pathlib import Path

import ase.io
import numpy as np
from ase import units
from ase.md.velocitydistribution import Stationary
from ase.md.verlet import VelocityVerlet

from multiace import Calculator, RunConfig, fit

HERE = Path(__file__).parent

# Trains the model of example 3, or takes it from its run folder.
potential = fit(RunConfig.read(HERE / "3_fit.yaml", ["train.learning_rate=0.02"]), "runs/examples/3_fit")

# Forces in float32 round the energy; float64 keeps it to the accuracy of the integrator.
atoms = ase.io.read(HERE / "data/malonaldehyde/test_300K.xyz", 0)
atoms.calc = Calculator(potential, dtype="float64")

# Velocities of 300 K, the centre of mass at rest.
noise = np.random.default_rng(0).standard_normal((len(atoms), 3))
atoms.set_momenta(noise * np.sqrt(units.kB * 300 * atoms.get_masses())[:, None])
Stationary(atoms)
dynamics = VelocityVerlet(atoms, timestep=0.5 * units.fs)

energies = []
print("  time     potential      total energy   temperature")
for _ in range(11):
    energies.append(atoms.get_total_energy())
    print(
        f"{dynamics.get_time() / units.fs:5.0f} fs {atoms.get_potential_energy():12.4f} eV "
        f"{energies[-1]:14.5f} eV {atoms.get_temperature():8.0f} K"
    )
    dynamics.run(20)

spread = 1000 * (max(energies) - min(energies)) / len(atoms)
print(f"the total energy varies by {spread:.2f} meV/atom")
assert spread < 5
