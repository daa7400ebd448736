"""Structures to verify on: kept in the model file, from the user's files, or built."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.geometry import get_distances

from multiace.errors import InputError
from multiace.verify.smoothness import radius

__all__ = ["build", "choose_few", "from_plain", "to_plain"]

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


def to_plain(structures: Iterable[Atoms]) -> list[dict[str, Any]]:
    """Return what the header of a model file keeps: symbols, positions [Å], cell [Å], pbc."""
    return [
        {
            "symbols": atoms.get_chemical_symbols(),
            "positions": atoms.positions.round(6).tolist(),
            **({"cell": atoms.cell.array.tolist(), "pbc": atoms.pbc.tolist()} if atoms.pbc.any() else {}),
        }
        for atoms in structures
    ]


def from_plain(structures: Iterable[Any]) -> list[Atoms]:
    """Return the structures that :func:`to_plain` wrote.

    Raises:
        InputError: If it did not write these.
    """
    try:
        return [Atoms(**values) for values in structures]
    except Exception as error:  # Atoms raises whatever goes wrong in it
        raise InputError(
            f"the structures in the model file cannot be read ({error}); give STRUCTURES instead."
        ) from None
