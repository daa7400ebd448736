"""Short trajectories with the calculator as it is used: constant energy, and hot."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.data import covalent_radii

from multiace.deploy.config import MDConfig
from multiace.deploy.md import Sample, energy_drift, simulate
from multiace.errors import InputError
from multiace.graph.neighbors import neighbor_list
from multiace.verify.subject import NotApplicableError, Outcome, Subject

__all__ = ["BONDED", "bonds", "bonds_hold", "collapsed", "energy_is_kept", "length"]

STEPS, TIMESTEP = 2000, 0.5  # [fs]
BONDED = 1.25  # atoms within this many sums of their covalent radii are bonded
STRETCHED, CRUSHED = (
    2.0,
    0.5,
)  # what breaks: bonds of this times their length, pairs of this times their radii
DRIFT = 1.0  # [meV/atom/ps]


def energy_is_kept(subject: Subject) -> Outcome:
    """NVE: drift of the total energy of the first structure over 1 ps, from velocities of 300 K."""
    atoms, samples = trajectory(subject, ensemble="nve", temperature=300.0)
    drift = energy_drift(samples)
    about = f"{samples[-1].temperature:.0f} K at the end, fluctuation {drift.fluctuation:.2g} meV/atom"
    return Outcome(abs(drift.slope), DRIFT, "meV/atom/ps", f"{len(atoms)} atoms, {about}")


def bonds_hold(subject: Subject) -> Outcome:
    """NVT: longest bond after 1 ps of hot Langevin dynamics, over its length before; and no two atoms collapse."""
    start = subject.structures[0]
    pairs = bonds(start)
    if not pairs:
        raise NotApplicableError("the first structure has no bonds (by covalent radii)")
    atoms, _ = trajectory(subject, ensemble="langevin", temperature=subject.temperature, friction=0.02)
    ratios = [length(atoms, pair) / length(start, pair) for pair in pairs]
    k = int(np.argmax(ratios))
    i, j, _ = pairs[k]
    about = f"{subject.temperature:g} K, {start.symbols[i]}{i}-{start.symbols[j]}{j}"
    if collapsed(atoms):
        return Outcome(np.inf, STRETCHED, "of its length", f"{subject.temperature:g} K, atoms collapse")
    return Outcome(ratios[k], STRETCHED, "of its length", about)


def trajectory(subject: Subject, **options: Any) -> tuple[Atoms, list[Sample]]:
    """Run the first structure.

    Raises:
        InputError: If it explodes.
    """
    atoms = subject.structures[0].copy()
    atoms.calc = subject.calculator
    config = MDConfig(steps=STEPS, timestep=TIMESTEP, seed=subject.seed, **options)
    try:
        return atoms, list(simulate(atoms, config))
    except InputError as error:
        raise InputError(f"{options['temperature']:g} K: {str(error).partition('. What')[0]}") from None


def bonds(atoms: Atoms, factor: float = BONDED) -> list[tuple[int, int, np.ndarray]]:
    """Return the atoms of each bond by covalent radii, and the shift of the second one's cell."""
    radii = factor * covalent_radii[atoms.numbers]
    j, i, shifts = neighbor_list(atoms.positions, atoms.cell.array, atoms.pbc, 2 * radii.max())
    lengths = np.linalg.norm(atoms.positions[i] - atoms.positions[j] + shifts @ atoms.cell.array, axis=1)
    bonded = lengths < radii[i] + radii[j]
    return list(zip(i[bonded], j[bonded], -shifts[bonded], strict=True))


def length(atoms: Atoms, bond: tuple[int, int, np.ndarray]) -> float:
    """Length [Å] of a bond, also after its atoms have moved through the cell."""
    i, j, shift = bond
    return float(np.linalg.norm(atoms.positions[j] - atoms.positions[i] + shift @ atoms.cell.array))


def collapsed(atoms: Atoms) -> bool:
    """Whether two atoms are closer than half of their covalent radii."""
    return len(bonds(atoms, CRUSHED)) > 0
