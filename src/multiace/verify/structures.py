"""Structures to verify on: kept in the run folder, from the user's files, or built."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.geometry import get_distances

from multiace.files import atomic
from multiace.verify.smoothness import radius

__all__ = ["KEPT", "build", "choose_few", "keep"]

KEPT = "verified.xyz"
"""In a run folder: the structures that the model was verified on."""

MOST = 4
LARGEST = 100  # atoms
SPACING = 1.15  # closest pair of a built structure, in sums of covalent radii


def choose_few(structures: Iterable[Atoms], largest: float = LARGEST) -> list[Atoms]:
    """Return at most four structures that have all elements and kinds of periodicity between them, if possible.

    Those with most elements come first, then small ones; single atoms and those above ``largest`` are left out.
    """
    seen: set[Any] = set()
    chosen: list[Atoms] = []
    candidates = [atoms for atoms in structures if 1 < len(atoms) <= largest]
    for atoms in sorted(candidates, key=lambda atoms: (-len(set(atoms.numbers)), len(atoms))):
        new = {*atoms.get_chemical_symbols(), tuple(atoms.pbc.tolist())} - seen
        if new and len(chosen) < MOST:
            chosen.append(atoms)
            seen |= new
    return chosen


def build(elements: Sequence[str], seed: int = 0) -> list[Atoms]:
    """Build a molecule and a crystal of random places: atoms touch, by covalent radii, and have no symmetry.

    Args:
        elements: Chemical symbols; each occurs once, or more often if there are few.
        seed: Of the places.
    """
    rng = np.random.default_rng(seed)
    repeats = max(1, -(-6 // len(elements)))
    symbols = [*elements] * repeats
    return [pack(symbols, rng, periodic=False), pack(symbols, rng, periodic=True)]


def pack(symbols: Sequence[str], rng: np.random.Generator, periodic: bool) -> Atoms:
    """Place atoms one by one where they are near to, and not too near to, those already there."""
    widest = max(radius(symbol, symbol) for symbol in symbols)
    side = 1.35 * SPACING * widest * len(symbols) ** (1 / 3)
    cell = side * (np.eye(3) + 0.1 * np.tril(rng.normal(size=(3, 3)), -1))
    atoms = Atoms(cell=cell, pbc=periodic)
    while len(atoms) < len(symbols):
        symbol = symbols[len(atoms)]
        for closest in np.linspace(SPACING, 0.5 * SPACING, 2000):
            place = rng.uniform(size=3) @ cell
            _, distances = get_distances(atoms.positions, place[None], cell=atoms.cell, pbc=atoms.pbc)
            sums = [radius(symbol, other) for other in atoms.get_chemical_symbols()]
            nearest = np.min(distances[:, 0] / sums, initial=np.inf)
            if not sums or closest <= nearest <= closest + 0.2:
                break
        atoms += Atoms(symbol, positions=[place])
    if not periodic:
        atoms.set_cell(None)
    return atoms


def keep(structures: Sequence[Atoms], path: Path) -> None:
    """Write the structures, without labels and whatever else they carry; without any, remove the file.

    Raises:
        InputError: If it cannot be written.
    """
    if not structures:
        path.unlink(missing_ok=True)
        return
    bare = [Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc) for atoms in structures]
    with atomic(path) as temporary:
        ase.io.write(temporary, bare, format="extxyz")
