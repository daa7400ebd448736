"""Radial weights read from a table instead of the network, for inference."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from multiace import ops
from multiace.basis.radial import NoTransform, RadialEmbedding
from multiace.graph import Graph
from multiace.layers.embedding import FixedElements
from multiace.layers.radial import RadialNetwork

__all__ = ["RadialTable", "RadialTables", "tabulate"]

INTERVALS = (256, 512, 1024, 2048)
LARGEST = 2**26  # numbers in the table of one layer


@dataclass(frozen=True)
class RadialTable:
    r"""R(r) of one layer between knots, with one table for each element or pair of elements that R depends on.

    Cubic Hermite interpolation of the network and its slope: forces stay the exact gradient of the energy,
    and continuous. Costs four multiplications per weight, whatever the network.

    Attributes:
        values: R and its slope times the spacing, (n_tables, n_knots, 2, n_weights).
        cutoff: r_c [Å], the last knot.
        sees: What R depends on beside r: ``none``, ``sender`` or ``pair``.
        n_species: Number of elements.
        per_edge: Whether there is a row for each edge instead of each pair.
        error: Largest error halfway between knots, relative to the root mean square of R.
    """

    values: Tensor
    cutoff: float
    sees: str
    n_species: int
    per_edge: bool
    error: float

    is_plain = True  # a function of r for each table

    def __call__(self, lengths: Tensor, attributes: Tensor, graph: Graph) -> Tensor:
        """Return R, (n_edges or n_pairs, n_weights), in the dtype of the table.

        Args:
            lengths: r of each pair [Å], (n_pairs,).
            attributes: a(z) of every element; they went into the table.
            graph: The edges.
        """
        edges, pair = graph.pairs
        if self.per_edge:
            lengths = lengths.index_select(0, pair)
        code = None
        if self.sees != "none":
            senders, receivers = graph.senders, graph.receivers
            if not self.per_edge:
                senders, receivers = senders[edges[:, 0]], receivers[edges[:, 0]]
            code = graph.species[senders]
            if self.sees == "pair":
                code = code * self.n_species + graph.species[receivers]
        spacing = self.cutoff / (self.values.shape[1] - 1)
        return ops.interpolate(lengths.to(self.values.dtype), self.values, spacing, code)


@dataclass(frozen=True)
class RadialTables:
    """The tables of a network, and weights that are made of others once.

    Attributes:
        layers: One for each layer.
        elements: Makes W(z).
        version: Of the weights that were tabulated; see :meth:`multiace.model.multi_ace.MultiACE.version`.
    """

    layers: list[RadialTable]
    elements: FixedElements
    version: tuple[Any, ...]

    @property
    def tensors(self) -> list[Tensor]:
        """What the tables hold."""
        return [table.values for table in self.layers] + [W for _, W in self.elements.made.values()]

    @property
    def error(self) -> float:
        """Largest error halfway between knots, relative to the root mean square of R."""
        return max(table.error for table in self.layers)


def tabulate(
    network: RadialNetwork, basis: RadialEmbedding, attributes: Tensor, tolerance: float
) -> RadialTable | None:
    """Tabulate a network in float64, with as many knots as it takes; None where the table would be too large.

    Args:
        network: R of a layer.
        basis: The radial basis.
        attributes: a(z) of every element, (n_species, embedding_dim).
        tolerance: Largest error, see :class:`RadialTable`.
    """
    dtype, n_species = attributes.dtype, len(attributes)
    network, basis, attributes = deepcopy(network).double(), deepcopy(basis).double(), attributes.double()
    sees = network.species if isinstance(basis.transform, NoTransform) else "pair"
    ends = {
        "none": [(0, 0)],
        "sender": [(z, z) for z in range(n_species)],
        "pair": [(y, z) for y in range(n_species) for z in range(n_species)],
    }[sees]

    def R(r: Tensor, z_j: int, z_i: int) -> Tensor:
        j, i = (torch.full(r.shape, z, dtype=torch.int64, device=r.device) for z in (z_j, z_i))
        return network.of_rows(basis(r, j, i), attributes, j, i)

    for intervals in INTERVALS:
        if len(ends) * intervals * 2 * network.mlp.sizes[-1] > LARGEST:
            return None
        knots = torch.linspace(
            0.0, basis.cutoff, intervals + 1, dtype=torch.float64, device=attributes.device
        )
        spacing = basis.cutoff / intervals
        values = torch.stack([torch.stack(_value_and_slope(R, knots, *z, spacing), dim=1) for z in ends])
        halfway = knots[:-1] + 0.5 * spacing
        with torch.no_grad():
            errors = [
                ops.interpolate(halfway, values[n : n + 1], spacing, None) - R(halfway, *z)
                for n, z in enumerate(ends)
            ]
            size = values[:, :, 0].square().mean().sqrt()
            error = float(torch.stack(errors).abs().max() / size.clamp(min=1e-30))
        if error <= tolerance:
            return RadialTable(values.to(dtype), basis.cutoff, sees, n_species, network.sees_elements, error)
    return None


def _value_and_slope(
    R: Callable[[Tensor, int, int], Tensor], r: Tensor, z_j: int, z_i: int, spacing: float
) -> tuple[Tensor, Tensor]:
    """R and dR/dr times the spacing, (n_knots, n_weights) each: the gradient of g . dR/dr with respect to g."""
    with torch.enable_grad():
        r = r.detach().requires_grad_()
        values = R(r, z_j, z_i)
        g = torch.zeros_like(values, requires_grad=True)
        (along,) = torch.autograd.grad(values, r, g, create_graph=True)
        (slope,) = torch.autograd.grad(along.sum(), g)
    return values.detach(), spacing * slope
