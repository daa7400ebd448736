"""Forces and stress are derivatives of the energy: against central differences of sixth order."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from multiace.verify.subject import NotApplicableError, Outcome, Subject, displaced

__all__ = ["forces", "noise", "stress"]

POINTS, WEIGHTS = np.array([-3, -2, -1, 1, 2, 3]), np.array([-1, 9, -45, 45, -9, 1]) / 60
DIRECTIONS = 3
SEVENTH = 1e6  # [eV/Å⁷] guess of E⁽⁷⁾, which the step follows from


def noise(subject: Subject) -> Outcome:
    """Rounding noise of the energy along a line, per atom: what minimisers and constant energy see of the precision."""
    E, F = subject.noise
    return Outcome(E / len(subject.structures[0]), 1e-5, "eV/atom", f"of forces {F:.1e} eV/Å")


def forces(subject: Subject) -> Outcome:
    """F = -dE/dr, along random directions of all atoms at once."""
    rng, step = subject.rng(), best_step(subject)
    figures = []
    for atoms, predicted in zip(subject.structures, subject.predicted, strict=True):
        if predicted.forces is None:
            raise NotApplicableError("the calculator has no forces")
        for _ in range(DIRECTIONS):
            direction = rng.normal(size=(len(atoms), 3))
            direction /= np.linalg.norm(direction)
            line = [displaced(atoms, n * step * direction) for n in POINTS]
            slope = WEIGHTS @ subject.energies(line) / step
            figures.append(abs(slope + (predicted.forces * direction).sum()) / predicted.size)
    return Outcome(float(np.max(figures)), 1e-4 + 12 * subject.noise[0] / step, "eV/Å", f"step {step:.0e} Å")


def stress(subject: Subject) -> Outcome:
    """σ = (1/V) dE/dε, under random strains; positive in tension."""
    rng, step = subject.rng(), best_step(subject) / 3
    figures, smallest = [], np.inf
    for atoms, predicted in subject.crystals:
        if predicted.stress is None:
            raise NotApplicableError("the calculator has no stress")
        for _ in range(DIRECTIONS):
            half = rng.normal(size=(3, 3))
            strain = (half + half.T) / np.linalg.norm(half + half.T)
            line = [strained(atoms, n * step * strain) for n in POINTS]
            slope = WEIGHTS @ subject.energies(line) / step
            size = max(1.0, float(np.abs(predicted.stress).max()))
            figures.append(abs(slope / predicted.volume - (predicted.stress * strain).sum()) / size)
        smallest = min(smallest, predicted.volume)
    bound = 1e-5 + 12 * subject.noise[0] / (step * smallest)
    return Outcome(float(np.max(figures)), bound, "eV/Å³")


def best_step(subject: Subject) -> float:
    """Return the step [Å] at which rounding and truncation of the difference are about equal."""
    return float(np.clip((subject.noise[0] / SEVENTH) ** (1 / 7), 1e-3, 2e-2))


def strained(atoms: Atoms, strain: np.ndarray) -> Atoms:
    """Return the structure in a strained cell, its atoms moved along."""
    moved = atoms.copy()
    moved.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    return moved
