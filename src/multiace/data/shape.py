r"""Is it the same structure, turned or moved? A few numbers of each frame that rotation and translation leave alone.

A frame's internal coordinates :math:`q_n` are the distances of atoms that follow each other in the file and the
handedness of each four of them, or, where it is periodic, differences of fractional coordinates and the metric of the
cell. Of these, sums :math:`S_k = \sum_n w_{kn} q_n` with fixed weights are kept. They are equal for one structure
in another place, orientation or image; that four of them agree by chance is as good as excluded.
"""

from __future__ import annotations

from hashlib import blake2b

import ase
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

__all__ = ["SUMS", "kind", "same", "shape"]

SUMS = 4
RATES = np.sqrt([2.0, 3.0, 5.0, 7.0])[:, None]  # irrational: no weight occurs twice
TOLERANCE = 1e-4  # [Å] sums that agree to this are of the same structure
WINDOW = 16  # frames that lie within the tolerance in the first sum, beside each other, and are compared


def kind(atoms: ase.Atoms) -> int:
    """64 bits of elements, in their order, and of periodic directions."""
    content = atoms.numbers.tobytes() + atoms.pbc.tobytes()
    return int.from_bytes(blake2b(content, digest_size=8).digest(), "little")


def shape(atoms: ase.Atoms) -> np.ndarray:
    """S_k [Å], (4,)."""
    q = in_cell(atoms) if atoms.pbc.any() else in_space(atoms.positions)
    return np.cos(RATES * np.arange(1, len(q) + 1) ** 2) @ q


def in_space(r: np.ndarray) -> np.ndarray:
    """Internal coordinates of positions (n_atoms, 3) [Å]: distances to the next three atoms, and handedness."""
    distances = [length(r[k:] - r[:-k]) for k in (1, 2, 3) if k < len(r)]
    d = distances[0]
    return np.concatenate([*distances, volume(np.diff(r, axis=0)) / (1 + d[:-2] * d[1:-1] * d[2:])])


def in_cell(atoms: ase.Atoms) -> np.ndarray:
    """Internal coordinates of a periodic structure [Å]: metric of the cell, and steps from atom to atom in it.

    A step along a periodic direction is an angle, which is smooth and the same for every image.
    """
    cell = atoms.cell.array if atoms.pbc.all() else atoms.cell.complete().array
    lengths = length(cell)
    angles = 2 * np.pi * np.diff(atoms.positions, axis=0) @ np.linalg.inv(cell)
    parts = [(cell @ cell.T / lengths).ravel(), volume(cell) / lengths.prod()]
    for angle, radius, periodic in zip(angles.T, lengths / (2 * np.pi), atoms.pbc, strict=True):
        parts += [radius * np.sin(angle), radius * np.cos(angle)] if periodic else [radius * angle]
    return np.concatenate(parts)


def length(v: np.ndarray) -> np.ndarray:
    """Lengths of vectors (n, 3)."""
    return np.sqrt(np.einsum("ni,ni->n", v, v))


def volume(v: np.ndarray) -> np.ndarray:
    """Signed volumes that each three vectors in a row of (n, 3) span, (n - 2,)."""
    x, y, z = v.T  # np.cross takes five times as long
    i, j, k = slice(0, -2), slice(1, -1), slice(2, None)
    return (
        x[i] * (y[j] * z[k] - z[j] * y[k])
        + y[i] * (z[j] * x[k] - x[j] * z[k])
        + z[i] * (x[j] * y[k] - y[j] * x[k])
    )


def same(kinds: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """Number the different structures among frames.

    Args:
        kinds: Of :func:`kind`, (n,).
        shapes: Of :func:`shape`, (n, 4).

    Returns:
        The number of each frame's structure, (n,): equal for those that are the same.
    """
    if len(kinds) == 0:
        return np.zeros(0, dtype=np.int64)
    order = np.lexsort((shapes[:, 0], kinds))
    kinds, shapes = kinds[order], shapes[order]
    pairs = [np.zeros((0, 2), dtype=np.int64)]
    for k in range(1, min(WINDOW, len(order) - 1) + 1):
        near = (kinds[k:] == kinds[:-k]) & (np.abs(shapes[k:] - shapes[:-k]) < TOLERANCE).all(axis=1)
        first = np.flatnonzero(near)
        pairs.append(np.column_stack([order[first], order[first + k]]))
    i, j = np.concatenate(pairs).T
    links = coo_array((np.ones(len(i), dtype=bool), (i, j)), shape=(len(order), len(order)))
    return np.asarray(connected_components(links, directed=False)[1])
