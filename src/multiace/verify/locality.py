"""Extensivity, locality and isolated atoms: what is far apart does not know of each other."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from multiace.deploy.gate import Predicted
from multiace.verify.subject import NotApplicableError, Outcome, Subject
from multiace.verify.symmetry import measured

__all__ = ["extensivity", "isolated_atoms", "locality"]

MOST_ATOMS = 400


def extensivity(subject: Subject) -> Outcome:
    """Twice the system has twice the energy: supercells, and two copies of a molecule far apart."""
    compared = []
    for atoms, one in zip(subject.structures, subject.predicted, strict=True):
        if 2 * len(atoms) > MOST_ATOMS:
            continue
        two = doubled(atoms, subject.distance)
        predicted = subject.predict([two])[0]
        F = None if one.forces is None else np.tile(one.forces, (2, 1))
        compared.append((Predicted(2 * one.energy, F, one.stress, one.volume), predicted, len(two)))
    if not compared:
        raise NotApplicableError(f"all structures have more than {MOST_ATOMS // 2} atoms")
    return measured(subject, compared)


def locality(subject: Subject) -> Outcome:
    """What lies beyond the receptive field has no effect, exactly: a distant atom moves, and nothing else changes."""
    if subject.layers is not None:
        return of_a_chain(subject, subject.layers)
    atoms = max(subject.structures, key=lambda atoms: (not atoms.pbc.any(), -len(atoms)))
    if atoms.pbc.any():
        atoms = Atoms(numbers=atoms.numbers, positions=atoms.positions)
    edge = atoms.positions[:, 0].max() + subject.distance
    near = atoms.positions.mean(axis=0)
    pair = [
        atoms + Atoms(subject.elements[0], positions=[[edge + more, near[1] + more, near[2]]])
        for more in (0.0, 0.7)
    ]
    here, there = subject.predict(pair)
    if here.forces is None or there.forces is None:
        raise NotApplicableError("the calculator has no forces")
    figure = float(np.abs(here.forces[:-1] - there.forces[:-1]).max())
    return Outcome(figure, 1e-7 + 10 * subject.noise[1], "eV/Å", f"at {subject.distance:g} Å")


def of_a_chain(subject: Subject, layers: int) -> Outcome:
    """Site energies see as many edges far as there are layers: bit for bit nothing of the atom after."""
    n = layers + 2
    chain = Atoms([subject.elements[k % len(subject.elements)] for k in range(n)])
    spacing = 0.8 * (subject.cutoff or 5.0)
    chain.positions[:, 0] = spacing * np.arange(n)
    chain.positions[:, 1] = 0.1 * np.cos(np.arange(n))
    moved = chain.copy()
    moved.positions[-1] += [0.02, 0.05, -0.03]
    here, there = (predicted.site_energies for predicted in subject.predict([chain, moved]))
    assert here is not None
    assert there is not None
    return Outcome(
        float(abs(here[0] - there[0])), 0.0, "eV", f"beyond {layers} edges of {subject.cutoff:g} Å"
    )


def isolated_atoms(subject: Subject) -> Outcome:
    """Single atoms have their E0 and no force."""
    alone = subject.predict([Atoms(element) for element in subject.elements])
    residual = [np.abs(p.forces).max() for p in alone if p.forces is not None]
    note = "E = " + ", ".join(
        f"{p.energy:.6g} ({element})" for element, p in zip(subject.elements, alone, strict=True)
    )
    if residual and not max(residual) <= 1e-9:
        return Outcome(float(np.max(residual)), 1e-9, "eV/Å", "force on a single atom")
    if not subject.E0:
        finite = all(np.isfinite(p.energy) for p in alone)
        return Outcome(0.0 if finite else np.inf, 0.0, "eV/Å", note)
    off = [abs(p.energy - subject.E0[element]) for element, p in zip(subject.elements, alone, strict=True)]
    figure = float(np.max(off))
    if subject.no_isolated:
        return Outcome(figure, None, "eV", f"not E0: {subject.no_isolated}")
    return Outcome(figure, 1e-9 * max(1.0, *map(abs, subject.E0.values())), "eV", note)


def doubled(atoms: Atoms, distance: float) -> Atoms:
    """Return two cells of a crystal, or two copies whose atoms are at least ``distance`` apart."""
    if atoms.pbc.any():
        lengths = np.where(atoms.pbc, atoms.cell.lengths(), np.inf)
        repeats = [1, 1, 1]
        repeats[int(lengths.argmin())] = 2
        return atoms.repeat(repeats)
    copy = atoms.copy()
    copy.positions[:, 0] += np.ptp(atoms.positions[:, 0]) + distance
    return atoms + copy
