"""Analytic pair potentials, with what is planted in them, and structures and files for them."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.singlepoint import SinglePointCalculator

DEPTH, STIFFNESS, BOND = 4.5, 2.0, 1.1  # of the Morse potential [eV, 1/Å, Å]


def morse(r, depth=DEPTH):
    return depth * ((1 - np.exp(-STIFFNESS * (r - BOND))) ** 2 - 1)


def well(r, place, depth, width=0.1):
    return -depth * np.exp(-(((r - place) / width) ** 2))


class Pairs(Calculator):
    """E = Σ e(r) over all pairs of a molecule; forces by central differences of e."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def __init__(self, energy=morse):
        super().__init__()
        self.energy = energy

    def calculate(self, atoms=None, properties=("energy",), system_changes=tuple(all_changes)):
        super().calculate(atoms, properties, system_changes)
        r = self.atoms.positions
        i, j = np.triu_indices(len(r), 1)
        D = r[i] - r[j]
        d = np.linalg.norm(D, axis=1)
        slope = (self.energy(d + 1e-5) - self.energy(d - 1e-5)) / 2e-5
        forces = np.zeros_like(r)
        np.add.at(forces, i, -slope[:, None] * D / d[:, None])
        np.add.at(forces, j, slope[:, None] * D / d[:, None])
        self.results = {"energy": float(self.energy(d).sum()), "forces": forces}


class EnergyAlone(Pairs):
    """No forces."""

    implemented_properties = ["energy"]  # noqa: RUF012


class Fragile(Pairs):
    """Raises when it is asked for the n-th time."""

    def __init__(self, n):
        super().__init__()
        self.left = n

    def calculate(self, *arguments, **options):
        super().calculate(*arguments, **options)
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("no convergence")


class NotFinite(Pairs):
    """NaN beyond 1.3 Å."""

    def calculate(self, *arguments, **options):
        super().calculate(*arguments, **options)
        if self.atoms.get_distance(0, 1) > 1.3:
            self.results = {"energy": np.nan, "forces": np.nan * self.atoms.positions}


def make():
    """For --calculator."""
    return Pairs()


def dimer(r, symbols="CO", **info):
    atoms = Atoms(symbols, positions=[[0, 0, 0], [r, 0, 0]])
    atoms.info.update(info)
    return atoms


def labelled(atoms, calculator=None, shift=0.0, forces=True):
    """A copy with the labels that a calculator gives, energies shifted [eV]."""
    atoms = atoms.copy()
    atoms.calc = calculator or Pairs()
    energy, F = atoms.get_potential_energy() + shift, atoms.get_forces()
    atoms.calc = SinglePointCalculator(atoms, energy=energy, **({"forces": F} if forces else {}))
    return atoms
