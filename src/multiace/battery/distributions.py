r"""Distributions of distances in structures sampled at a temperature, and how far two of them are apart.

.. math:: \text{error} = \int_0^\infty |\hat p(r) - p(r)| \, dr

Source: Fu et al., arXiv:2210.07237, for h(r) and g(r). Bond lengths are distributed there over time for their
stability only; here the same integral is taken of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from scipy.spatial.distance import pdist

from multiace.data.read import has_volume
from multiace.graph.neighbors import neighbor_list
from multiace.verify.dynamics import BONDED

__all__ = ["bond_error", "pair_error"]

BOND_WIDTH, LONGEST = 0.02, 6.5
"""Width of the bins of bond lengths, and where the last one ends [Å]: beyond 1.25 times two of the largest radii."""

PAIR_WIDTH, FARTHEST, RADIAL = 0.05, 30.0, 6.0
"""The same of the distances of pairs [Å]: of molecules, and of g(r), which ends earlier."""

Pair = tuple[str, str]


def bond_error(predicted: Sequence[Atoms], reference: Sequence[Atoms]) -> float | None:
    r"""Compare bond lengths, by pair of elements; 0 at best, 2 if they have nothing in common.

    .. math:: \sum_{AB} w_{AB} \int |\hat p_{AB}(r) - p_{AB}(r)| \, dr

    A bond is a pair of atoms within 1.25 sums of their covalent radii, in each structure anew; p_AB is the density of
    its length over all bonds A-B of all structures, and w_AB their share of all bonds of the reference. Where no bond
    A-B is left, nothing is in common. That some of them are missing is not seen, nor bonds of pairs that the reference
    does not have.

    Returns:
        None if the reference has no bonds.
    """
    of_predicted, of_reference = bond_counts(predicted), bond_counts(reference)
    total = sum(counts.sum() for counts in of_reference.values())
    if not total:
        return None
    error = 0.0
    for pair, counts in of_reference.items():
        other = of_predicted.get(pair)
        difference = 2.0 if other is None else np.abs(other / other.sum() - counts / counts.sum()).sum()
        error += float(counts.sum() / total * difference)
    return error


def bond_counts(structures: Sequence[Atoms]) -> dict[Pair, np.ndarray]:
    """Return the histogram of bond lengths of each pair of elements."""
    lengths: dict[Pair, list[np.ndarray]] = {}
    for atoms in structures:
        radii, symbols = covalent_radii[atoms.numbers], np.array(atoms.get_chemical_symbols())
        i, j, d = neighbors(atoms, 2 * BONDED * radii.max())
        bonded = d < BONDED * (radii[i] + radii[j])
        d, pairs = d[bonded], np.sort(np.stack([symbols[i], symbols[j]], axis=1)[bonded], axis=1)
        for a, b in set(map(tuple, pairs.tolist())):
            chosen = (pairs == (a, b)).all(axis=1)
            lengths.setdefault((a, b), []).append(d[chosen])
    return {pair: histogram(np.concatenate(found), BOND_WIDTH, LONGEST) for pair, found in lengths.items()}


def pair_error(predicted: Sequence[Atoms], reference: Sequence[Atoms]) -> float | None:
    r"""Compare the distances of all pairs of atoms.

    Of molecules, with N atoms,

    .. math:: h(r) = \Bigl\langle \frac{1}{N (N - 1)} \sum_{i} \sum_{j \ne i} \delta(r - r_{ij}) \Bigr\rangle,

    so that the error has no unit, 0 at best and 2 at most. Of periodic structures of volume V, up to 6 Å,

    .. math:: g(r) = \Bigl\langle \frac{V}{4 \pi r^2 N^2} \sum_{i} \sum_{j \ne i} \delta(r - r_{ij}) \Bigr\rangle,

    and the error is in Å.

    Returns:
        None for single atoms that are not periodic.
    """
    if len(reference[0]) < 2 and not has_volume(reference[0]):
        return None
    of_predicted, of_reference = (
        np.mean([pair_density(atoms) for atoms in structures], axis=0)
        for structures in (predicted, reference)
    )
    return float(np.abs(of_predicted - of_reference).sum() * PAIR_WIDTH)


def pair_density(atoms: Atoms) -> np.ndarray:
    """Return g(r) of a periodic structure, h(r) of a molecule, in bins [1, 1/Å]."""
    if not has_volume(atoms):
        d = pdist(atoms.positions)
        return histogram(d, PAIR_WIDTH, FARTHEST) / (len(d) * PAIR_WIDTH)
    edges = np.arange(0, RADIAL + PAIR_WIDTH / 2, PAIR_WIDTH)
    shells = 4 / 3 * np.pi * np.diff(edges**3)
    counts = np.histogram(neighbors(atoms, RADIAL)[2], edges)[0]
    return counts * atoms.get_volume() / (len(atoms) ** 2 * shells)


def neighbors(atoms: Atoms, cutoff: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return pairs of atoms closer than the cutoff [Å], in both directions, and their distances [Å]."""
    i, j, shifts = neighbor_list(atoms.positions, atoms.cell.array, atoms.pbc, cutoff)
    return i, j, np.linalg.norm(atoms.positions[j] - atoms.positions[i] + shifts @ atoms.cell.array, axis=1)


def histogram(distances: np.ndarray, width: float, end: float) -> np.ndarray:
    """Count distances in bins from 0 on; what is beyond the end is counted in the last one."""
    bins = np.minimum((distances / width).astype(int), round(end / width) - 1)
    return np.bincount(bins, minlength=round(end / width)).astype(float)
