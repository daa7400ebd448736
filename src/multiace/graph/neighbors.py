"""Neighbour lists: positions, cell, pbc, cutoff -> directed edges j -> i, sorted by receiver."""

from __future__ import annotations

from collections.abc import Sequence

import ase
import numpy as np
import torch
import vesin
from ase.geometry import complete_cell

from multiace.errors import InputError
from multiace.graph.graph import Graph

__all__ = ["build_graph", "neighbor_list"]

COINCIDENT = 1e-6  # [Å] closer than this, two atoms are at one place
FARTHEST = 1e8  # [Å] positions and lattice vectors; rounding is below COINCIDENT there
MOST_IMAGES = 1e5  # of an atom within the cutoff; a cell of 0.5 Å has fewer at 10 Å
MOST_BOXES = 1e5  # that vesin sorts atoms into; it makes them larger where there are more
MIN_VOLUME = 1e-6  # |volume| / (product of edge lengths) below which lattice vectors are dependent


def neighbor_list(
    positions: np.ndarray, cell: np.ndarray, pbc: Sequence[bool] | np.ndarray, cutoff: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""Find all pairs with :math:`|\mathbf r_i - \mathbf r_j + \mathbf S \mathbf C| < r_c`.

    Any mixture of periodic directions, cells smaller than the cutoff (an atom then also sees images of
    itself), atoms outside the cell. Order: by receiver, then sender, then shift, so that equal input gives
    equal bits.

    Args:
        positions: r [Å], shape (n_nodes, 3).
        cell: Lattice vectors as rows [Å], shape (3, 3). Rows of non-periodic directions are not used.
        pbc: Whether each of the three directions is periodic.
        cutoff: r_c [Å]; pairs at exactly this distance are left out.

    Returns:
        senders j (n_edges,), receivers i (n_edges,), shifts S (n_edges, 3); all int64.

    Raises:
        InputError: If the lattice vectors of the periodic directions are dependent, or the structure is too far
            extended, or its cell too small, to search.
    """
    positions = np.ascontiguousarray(positions, dtype=np.float64).reshape(-1, 3)
    pbc = np.asarray(pbc, dtype=bool)
    cell = np.where(pbc[:, None], np.asarray(cell, dtype=np.float64), 0.0)
    check_lattice(cell[pbc])
    check_extent(positions, cell, pbc, cutoff)
    # vesin's vector runs from i to j, r_j - r_i + S C: its j is our receiver.
    search = vesin.NeighborList(cutoff=cutoff, full_list=True)
    senders, receivers, shifts = search.compute(positions, cell, pbc, "ijS")
    order = np.lexsort((*shifts.T[::-1], senders, receivers))
    return senders[order].astype(np.int64), receivers[order].astype(np.int64), shifts[order].astype(np.int64)


def check_lattice(vectors: np.ndarray) -> None:
    """Refuse dependent (or zero) periodic lattice vectors, shape (up to 3, 3) [Å]."""
    lengths = np.linalg.norm(vectors, axis=1)
    # sqrt det(C C^T) is the length, area or volume that one, two or three vectors span.
    if not (np.abs(vectors) < FARTHEST).all() or (
        np.sqrt(max(np.linalg.det(vectors @ vectors.T), 0.0)) <= MIN_VOLUME * lengths.prod()
    ):
        raise InputError(
            f"periodic lattice vectors {vectors.tolist()} span no volume, or are too long; "
            "give independent vectors [Å], or set pbc to F in the directions that are not periodic."
        )


def check_extent(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff: float) -> None:
    """Refuse cells with countless images within the cutoff, and shapes that vesin cannot cut into boxes.

    It scales boxes of the cutoff, n of them along each direction, to MOST_BOXES in all; where a direction is left
    with less than one, it divides by zero, which ends the process.
    """
    inverse = np.linalg.inv(complete_cell(cell))
    heights = 1 / np.linalg.norm(inverse, axis=0)
    images = np.prod(2 * cutoff / heights[pbc] + 1)
    if images > MOST_IMAGES:
        raise InputError(
            f"the cell {cell[pbc].tolist()} is so small that an atom has some {images:.0e} images within the cutoff of "
            f"{cutoff:g} Å; check its unit, which is Å."
        )
    extents = np.where(pbc, heights, np.ptp(positions @ inverse, axis=0) * heights)
    boxes = np.maximum(extents / cutoff, 1)
    if boxes.prod() > MOST_BOXES and boxes.min() * (MOST_BOXES / boxes.prod()) ** (1 / 3) < 1.1:
        raise InputError(
            f"the structure extends over {', '.join(f'{extent:.3g}' for extent in extents)} Å in its three directions, "
            "too far to search for neighbours; bring its parts together, or make the cell smaller."
        )


def build_graph(atoms: ase.Atoms, elements: Sequence[str], cutoff: float) -> Graph:
    """Turn a structure into a graph with all edges shorter than the cutoff.

    Args:
        atoms: Structure; positions and cell in Å.
        elements: The model's table of elements: species 0, 1, ... are these chemical symbols.
        cutoff: r_c [Å].

    Returns:
        One-structure graph on the CPU. ``cells`` is zero where no direction is periodic, whatever box the
        file carried.

    Raises:
        InputError: If there are no atoms, an element is not in the table, a position is not finite, two
            atoms are at one place, or the cell of a periodic structure spans no volume.
    """
    if len(atoms) == 0:
        raise InputError("a structure without atoms was given; it must have at least one.")
    positions = np.array(atoms.get_positions(), dtype=np.float64)
    lost = np.flatnonzero(~(np.abs(positions) < FARTHEST).all(axis=1))
    if len(lost):
        first = lost[0]
        raise InputError(
            f"atom {first} has position {positions[first].tolist()}; it must be finite, and within {FARTHEST:g} Å."
        )
    cell = np.array(atoms.cell) if atoms.pbc.any() else np.zeros((3, 3))
    senders, receivers, shifts = neighbor_list(positions, cell, atoms.pbc, cutoff)
    check_distinct(positions, cell, senders, receivers, shifts)
    # Sorted by the key of its reverse, the k-th edge is the reverse of edge k.
    reverse = np.lexsort((*-shifts.T[::-1], receivers, senders))
    return Graph(
        species=torch.from_numpy(species_index(atoms, elements)),
        positions=torch.from_numpy(positions),
        senders=torch.from_numpy(senders),
        receivers=torch.from_numpy(receivers),
        shifts=torch.from_numpy(shifts.astype(np.float64)),
        reverse=torch.from_numpy(reverse),
        cells=torch.from_numpy(cell)[None],
        node_graph=torch.zeros(len(atoms), dtype=torch.int64),
    )


def species_index(atoms: ase.Atoms, elements: Sequence[str]) -> np.ndarray:
    """Return the position of each atom's element in the table, shape (n_nodes,) int64."""
    index = {element: species for species, element in enumerate(elements)}
    symbols = atoms.get_chemical_symbols()
    missing = sorted(set(symbols) - set(index))
    if missing:
        raise InputError(
            f"element {', '.join(missing)} of {atoms.get_chemical_formula()} is not among the model's "
            f"elements {', '.join(elements)}; train a model whose data has it, or set model.elements."
        )
    return np.array([index[symbol] for symbol in symbols], dtype=np.int64)


def check_distinct(
    positions: np.ndarray, cell: np.ndarray, senders: np.ndarray, receivers: np.ndarray, shifts: np.ndarray
) -> None:
    """Refuse two atoms (or an atom and an image of another) at one place."""
    distances = np.linalg.norm(positions[receivers] - positions[senders] + shifts @ cell, axis=1)
    coincident = np.flatnonzero(distances < COINCIDENT)
    if len(coincident):
        first = coincident[0]
        raise at_one_place(int(senders[first]), int(receivers[first]))


def at_one_place(i: int, j: int) -> InputError:
    """Return the error of two atoms that coincide."""
    return InputError(f"atoms {min(i, j)} and {max(i, j)} are at one place; remove one of them.")
