"""Padding: a graph filled up to one of few sizes, so that what a GPU has captured for one size serves many graphs."""

from __future__ import annotations

import torch

from multiace.graph.graph import Graph

__all__ = ["padded", "rounded"]

EDGES_OF_AN_ATOM = 32  # of the padding at most: one program of a kernel walks the edges of an atom


def padded(graph: Graph, cutoff: float) -> Graph:
    """Return the graph with one more structure, which fills up atoms and pairs to :func:`rounded` numbers.

    Its atoms see nothing but images of themselves, at twice the cutoff: no atom, edge or sum of the structures before
    it changes, and its own edges add nothing to its energy.

    Args:
        graph: Structures.
        cutoff: r_c [Å].
    """
    n_pairs = graph.n_edges // 2
    pairs = rounded(n_pairs) - n_pairs
    atoms = rounded(graph.n_nodes + max(-(-2 * pairs // EDGES_OF_AN_ATOM), 1)) - graph.n_nodes
    return Graph.batch([graph, isolated(atoms, pairs, 2.0 * cutoff)])


def isolated(atoms: int, pairs: int, length: float) -> Graph:
    """Make a structure of atoms in a cubic cell whose edges, ``pairs`` x 2 in all, lead to images of themselves.

    Args:
        atoms: How many there are, one at least.
        pairs: How many pairs of edges, shared out evenly.
        length: Of the cell and of each edge [Å].
    """
    node = (torch.arange(pairs) * atoms // max(pairs, 1)).repeat_interleave(2)
    shifts = torch.zeros(2 * pairs, 3, dtype=torch.float64)
    shifts[::2, 0], shifts[1::2, 0] = 1.0, -1.0
    return Graph(
        species=torch.zeros(atoms, dtype=torch.int64),
        positions=torch.zeros(atoms, 3, dtype=torch.float64),
        senders=node,
        receivers=node,
        shifts=shifts,
        reverse=torch.arange(2 * pairs) ^ 1,
        cells=length * torch.eye(3, dtype=torch.float64)[None],
        node_graph=torch.zeros(atoms, dtype=torch.int64),
    )


def rounded(n: int) -> int:
    """Round up to a number of four significant bits: an eighth more at most."""
    step = 1 << max(n.bit_length() - 4, 0)
    return -(-n // step) * step
