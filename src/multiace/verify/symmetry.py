"""Symmetries: what may not change the energy, and how forces and stress turn with the structure."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from ase import Atoms

from multiace.deploy.gate import Predicted
from multiace.verify.subject import NotApplicableError, Outcome, Subject, displaced, predict_with

__all__ = ["history", "images", "permutation", "reflection", "rotation", "translation"]

EXACT = 1e-6  # of symmetries, beyond rounding noise
UNIT = "eV, eV/Å"

Back = Callable[[Predicted], Predicted]


def rotation(subject: Subject) -> Outcome:
    """Energy, forces and stress of the structures, turned: E is the same, F and σ turn along."""
    Q, _ = np.linalg.qr(subject.rng().normal(size=(3, 3)))
    return turned(subject, Q * np.sign(np.linalg.det(Q)))


def reflection(subject: Subject) -> Outcome:
    """The same for the mirror image: positions and forces change their sign (with rotations, any reflection)."""
    return turned(subject, -np.eye(3))


def translation(subject: Subject) -> Outcome:
    """Nothing changes when all atoms move by one vector."""
    by = subject.rng().normal(scale=3.0, size=3)

    def change(atoms: Atoms) -> tuple[Atoms, Back]:
        moved = atoms.copy()
        moved.positions += by
        return moved, same

    return invariance(subject, change)


def permutation(subject: Subject) -> Outcome:
    """Forces follow the atoms when those are listed in another order."""
    rng = subject.rng()

    def change(atoms: Atoms) -> tuple[Atoms, Back]:
        order = rng.permutation(len(atoms))
        place = np.argsort(order)

        def back(p: Predicted) -> Predicted:
            return Predicted(p.energy, None if p.forces is None else p.forces[place], p.stress, p.volume)

        return atoms[order], back

    return invariance(subject, change)


def images(subject: Subject) -> Outcome:
    """Periodic images: atoms in other cells, and the same lattice by other vectors."""
    rng = subject.rng()

    def change(atoms: Atoms) -> tuple[Atoms, Back]:
        pbc = atoms.pbc
        moved = atoms.copy()
        moved.positions += (rng.integers(-2, 3, size=(len(atoms), 3)) * pbc) @ atoms.cell.array
        if pbc.all():
            moved.set_cell(np.array([[1, 1, 0], [0, 1, 0], [0, -1, 1]]) @ atoms.cell.array)
        return moved, same

    if not any(atoms.pbc.any() for atoms in subject.structures):
        raise NotApplicableError("no structure is periodic")
    return invariance(subject, change)


def history(subject: Subject) -> Outcome:
    """What was asked before changes nothing: the calculator, asked about others and moved atoms in between."""
    predict, atoms = predict_with(subject.calculator), subject.structures[0]
    small = [displaced(atoms, subject.rng().normal(scale=0.05 * n, size=(len(atoms), 3))) for n in (1, 2, 3)]
    once = predict([atoms])[0]
    return measured(
        subject,
        [
            (once, predict([*between, atoms])[-1], len(atoms))
            for between in (small, subject.structures, small[::-1])
        ],
    )


def turned(subject: Subject, Q: np.ndarray) -> Outcome:
    """Compare with structures turned by an orthogonal matrix."""

    def change(atoms: Atoms) -> tuple[Atoms, Back]:
        moved = atoms.copy()
        moved.set_cell(atoms.cell.array @ Q.T)
        moved.positions = atoms.positions @ Q.T

        def back(p: Predicted) -> Predicted:
            return Predicted(
                p.energy,
                None if p.forces is None else p.forces @ Q,
                None if p.stress is None else Q.T @ p.stress @ Q,
                p.volume,
            )

        return moved, back

    return invariance(subject, change)


def invariance(subject: Subject, change: Callable[[Atoms], tuple[Atoms, Back]]) -> Outcome:
    """Compare the structures with changed ones, whose predictions are brought back."""
    changed = [change(atoms) for atoms in subject.structures]
    predictions = subject.predict([moved for moved, _ in changed])
    return measured(
        subject,
        [
            (before, back(after), len(moved))
            for before, after, (moved, back) in zip(subject.predicted, predictions, changed, strict=True)
        ],
    )


def measured(subject: Subject, compared: list[tuple[Predicted, Predicted, int]]) -> Outcome:
    """Return the largest difference of predictions that should agree, within rounding noise."""
    figure = float(np.max([one.difference(other, n_atoms) for one, other, n_atoms in compared]))
    return Outcome(figure, EXACT + 30 * max(subject.noise), UNIT)


def same(p: Predicted) -> Predicted:
    """Return it as it is."""
    return p
