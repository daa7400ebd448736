"""Linear maps with a matrix for each element on a GPU: batched matrix products over tiles of one element each.

The definition gathers a matrix for each node, and so does this where that takes little memory. Where x is narrow, as
the radial basis is, it is put among zeros, beside the places of other elements, and all matrices are one. Elsewhere
nodes are sorted by element and cut into tiles, each filled up with rows of zeros, so that a matrix is gathered for each
tile, and products stay with cuBLAS. How many tiles an element has is known to the device alone; there are as many as
there could be, and the host does not wait. Everything is PyTorch, differentiable to any order. Sums over nodes are
matrix products, too: no atomic additions of more than one number, the same bits at each run.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from multiace.basis.irreps import Irreps
from multiace.ops import reference
from multiace.ops.gpu_product import nodes_by_element
from multiace.ops.paths import linear_blocks

__all__ = ["linear"]

TILE = 16
LARGEST = 2**24  # numbers in a matrix for each node, and in its row of those that say which
NARROW = 256  # numbers of a node, those of all elements together


class Tiles(NamedTuple):
    """Nodes in tiles of one element each.

    Attributes:
        nodes: The node in each row of each tile, (n_tiles * TILE,); the number of nodes where there is none.
        rows: The row of each node, (n_nodes,).
        elements: 1 where a tile is of an element, else 0, (n_tiles, n_matrices).
    """

    nodes: Tensor
    rows: Tensor
    elements: Tensor


def _tiles(species: Tensor, n_matrices: int, like: Tensor) -> Tiles:
    n_nodes = len(species)
    n_tiles = n_nodes // TILE + n_matrices  # or fewer: an element fills all its tiles but one
    nodes, first = nodes_by_element(species, n_matrices)
    of_element = (first.diff() + TILE - 1) // TILE
    last_tile = of_element.cumsum(0)
    shift = (last_tile - of_element) * TILE - first[:-1]  # from place among sorted nodes to row
    places = torch.arange(n_nodes, device=species.device)
    rows = torch.empty_like(species).scatter(0, nodes, places) + shift.index_select(0, species)
    table = torch.full((n_tiles * TILE,), n_nodes, device=species.device).scatter(0, rows, places)
    tile = torch.arange(n_tiles, device=species.device)[:, None]
    elements = (tile >= last_tile - of_element) & (tile < last_tile)
    return Tiles(table, rows, elements.to(like.dtype))


def linear(x: Tensor, W: Tensor, species: Tensor | None, irreps_in: Irreps, irreps_out: Irreps) -> Tensor:
    """Same as :func:`multiace.ops.reference.linear`."""
    if species is None or len(W) == 1:
        return reference.linear(x, W, None, irreps_in, irreps_out)
    is_narrow = len(W) * x.shape[1] <= NARROW
    if is_narrow or len(species) * max(W.shape) <= LARGEST:
        elements = (species[:, None] == torch.arange(len(W), device=species.device)).to(x.dtype)
        if is_narrow:
            return _among_zeros(x, W, elements, irreps_in, irreps_out)
        return _products(x, elements @ W, irreps_in, irreps_out)
    tiles = _tiles(species, len(W), x)
    rows = torch.cat([x, x.new_zeros(1, x.shape[1])]).index_select(0, tiles.nodes)
    return _products(rows, tiles.elements @ W, irreps_in, irreps_out).index_select(0, tiles.rows)


def _among_zeros(x: Tensor, W: Tensor, elements: Tensor, irreps_in: Irreps, irreps_out: Irreps) -> Tensor:
    """Multiply x, in the columns of its element, by the matrices of all elements below one another."""
    y = {irrep: x.new_zeros(len(x), irrep.dim * mul) for mul, irrep in irreps_out}
    for block in linear_blocks(irreps_in, irreps_out):
        part = x[:, block.x].unflatten(1, (block.irrep.dim, block.mul_in))
        wide = (elements[:, None, :, None] * part[:, :, None]).flatten(2)
        matrix = W[:, block.weights].unflatten(1, (block.mul_in, block.mul_out)).flatten(0, 1)
        y[block.irrep] = (wide @ (matrix * block.mul_in**-0.5)).flatten(1)
    return torch.cat(list(y.values()), dim=1)


def _products(rows: Tensor, matrices: Tensor, irreps_in: Irreps, irreps_out: Irreps) -> Tensor:
    """Multiply each n_rows / n_matrices rows by a matrix of their own, (n_matrices, n_weights)."""
    rows_of_each = len(rows) // max(len(matrices), 1)
    y = {irrep: rows.new_zeros(len(rows), irrep.dim * mul) for mul, irrep in irreps_out}
    for block in linear_blocks(irreps_in, irreps_out):
        part = rows[:, block.x].reshape(len(matrices), rows_of_each * block.irrep.dim, block.mul_in)
        matrix = matrices[:, block.weights].unflatten(1, (block.mul_in, block.mul_out))
        product = torch.bmm(part, matrix * block.mul_in**-0.5)
        y[block.irrep] = product.reshape(len(rows), block.irrep.dim * block.mul_out)
    return torch.cat(list(y.values()), dim=1)
