"""Radial weights read from a table instead of the network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.polynomial import chebyshev
from torch import Tensor

from multiace import ops
from multiace.basis.radial import PairedEmbedding, RadialEmbedding
from multiace.basis.spline import SplinedEmbedding
from multiace.graph import Graph
from multiace.layers.complete import CompleteRadial
from multiace.layers.embedding import ElementEmbedding, FixedElements
from multiace.layers.radial import RADIAL_SPECIES, RadialNetwork, RadialWeights

__all__ = [
    "INTERVALS",
    "TOLERANCE",
    "RadialFunction",
    "RadialPieces",
    "RadialTable",
    "RadialTables",
    "piecewise",
    "tabulate",
]

INTERVALS = (256, 512, 1024, 2048)
TOLERANCE = 1e-5  # what rounding to float32 does to a network itself
LARGEST = 2**26  # numbers in the table of one layer
POWERS = 8  # of a polynomial between knots
PIECES = (64, 128, 256, 512, 1024, 2048)
ROUNDING = {torch.float64: 1e-12, torch.float32: 1e-7}
"""Largest error of polynomials, relative to the root mean square."""


@dataclass(frozen=True)
class RadialTable:
    r"""R(r) of one layer between knots, with one table for each element or pair of elements that R depends on.

    Cubic Hermite interpolation of the network and its slope: forces stay the exact gradient of the energy,
    and continuous. Costs four multiplications per weight, whatever the network. Differentiable with respect to r
    and the values.

    Attributes:
        values: R and its slope times the spacing, (n_tables, n_knots, 2, n_weights).
        cutoff: r_c [Å], the last knot.
        sees: What R depends on beside r: ``none``, ``sender`` or ``pair``.
        n_species: Number of elements.
        per_edge: Whether there is a row for each edge instead of each pair.
    """

    values: Tensor
    cutoff: float
    sees: str
    n_species: int
    per_edge: bool

    def on(self, graph: Graph, rows: Tensor, elements: ElementEmbedding) -> RadialWeights:
        """Return R on a graph, in the dtype of the table.

        Args:
            graph: The edges.
            rows: r of each pair [Å], or of each edge where there is a row for each.
            elements: What they are went into the table.
        """
        code: tuple[Tensor, ...] = ()
        seen = RADIAL_SPECIES[self.sees]
        if seen is not None:
            edges = slice(None) if self.per_edge else graph.pairs[0][:, 0]
            z_j, z_i = (graph.species[nodes[edges]] for nodes in (graph.senders, graph.receivers))
            code = (seen.code(z_j, z_i, self.n_species),)
        spacing = self.cutoff / (self.values.shape[1] - 1)

        def read(rows: Tensor) -> Tensor:
            return ops.interpolate(rows, self.values, spacing, *(code or (None,)))

        return RadialWeights(read, rows.to(self.values.dtype), code, [self.values])


@dataclass(frozen=True)
class RadialPieces:
    """The radial basis as polynomials between knots, made for inference: it needs no gradient but that of vectors.

    Attributes:
        tables: Coefficients, (1 or n_species², n_intervals, POWERS, num_radial); see
            :func:`multiace.ops.reference.piecewise`.
        cutoff: r_c [Å], where the last interval ends.
    """

    tables: Tensor
    cutoff: float

    def __call__(self, vectors: Tensor, graph: Graph) -> Tensor:
        """Return e_n of each undirected pair, (n_pairs, num_radial), from the vectors of all edges (n_edges, 3)."""
        species = graph.species if len(self.tables) > 1 else None
        edges = (graph.senders, graph.receivers, graph.pairs)
        return ops.piecewise(vectors, self.tables, self.cutoff, species, *edges)


@dataclass(frozen=True)
class RadialTables:
    """The tables of a network, and what makes weights of elements.

    Attributes:
        layers: One for each layer, or none: the networks are evaluated.
        elements: Makes W(z); for inference once for each W.
        error: Largest error halfway between knots, relative to the root mean square of R; NaN if not measured.
        version: Of the weights that were tabulated; see :meth:`multiace.model.multi_ace.MultiACE.version`.
        pieces: The radial basis, where R is the basis, or None: it is evaluated.
    """

    layers: list[RadialTable]
    elements: ElementEmbedding
    error: float = math.nan
    version: tuple[Any, ...] = ()
    pieces: RadialPieces | None = None

    @property
    def made(self) -> list[Tensor]:
        """What was made once: weights of elements, polynomials."""
        made = self.elements.tensors if isinstance(self.elements, FixedElements) else []
        return made if self.pieces is None else [*made, self.pieces.tables]


class RadialFunction(NamedTuple):
    """R(r; z_j, z_i) of one layer, to be tabulated.

    Attributes:
        network: R of the layer.
        basis: The radial basis.
        attributes: a(z) of every element, (n_species, embedding_dim).
    """

    network: RadialNetwork | CompleteRadial
    basis: RadialEmbedding | PairedEmbedding | SplinedEmbedding
    attributes: Tensor

    @property
    def sees(self) -> str:
        """What R depends on beside r: ``none``, ``sender`` or ``pair``."""
        return "pair" if self.basis.by_pair else self.network.species

    @property
    def ends(self) -> tuple[Tensor, Tensor]:
        """z_j and z_i of each table, (n_tables,)."""
        n_species, device = len(self.attributes), self.attributes.device
        number = torch.arange(
            {"none": 1, "sender": n_species, "pair": n_species**2}[self.sees], device=device
        )
        return (number // n_species, number % n_species) if self.sees == "pair" else (number, number)

    @property
    def n_tables(self) -> int:
        """Number of tables."""
        return len(self.ends[0])

    def double(self) -> RadialFunction:
        """Return a copy in float64."""
        return RadialFunction(
            deepcopy(self.network).double(), deepcopy(self.basis).double(), self.attributes.detach().double()
        )

    def fits(self, intervals: int) -> bool:
        """Whether the table is small enough."""
        return self.n_tables * intervals * 2 * self.network.n_weights <= LARGEST

    def __call__(self, r: Tensor) -> Tensor:
        """Return R at distances r (n,) [Å] for each table, (n_tables, n, n_weights)."""
        z_j, z_i = (z.repeat_interleave(len(r)) for z in self.ends)
        e = ops.radial_basis(r.repeat(self.n_tables), z_j, z_i, self.basis)
        return self.network.of_rows(e, self.attributes, z_j, z_i).unflatten(0, (self.n_tables, len(r)))

    def tabulate(self, intervals: int, unread: int = 0) -> RadialTable:
        """Return a table that is differentiable with respect to all that R is made of.

        The slope is the gradient of g . dR/dr with respect to g.

        Args:
            intervals: Number of intervals up to the cutoff.
            unread: Number of first knots that no pair will read: zero.
        """
        spacing, differentiable = self.basis.cutoff / intervals, torch.is_grad_enabled()
        with torch.enable_grad():
            r = self._distances(unread, intervals + 1 - unread, spacing).requires_grad_()
            values = self(r)
            g = torch.zeros_like(values, requires_grad=True)
            (along,) = torch.autograd.grad(values, r, g, create_graph=True)
            (slope,) = torch.autograd.grad(along.sum(), g, create_graph=differentiable)
        rows = torch.stack([values, spacing * slope], dim=2)
        rows = torch.nn.functional.pad(rows, (0, 0, 0, 0, unread, 0))
        return RadialTable(rows, self.basis.cutoff, self.sees, len(self.attributes), self.network.per_edge)

    def error(self, table: RadialTable) -> float:
        """Largest error of a table halfway between its knots, relative to the root mean square of R."""
        intervals = table.values.shape[1] - 1
        spacing = self.basis.cutoff / intervals
        with torch.no_grad():
            r = self._distances(0.5, intervals, spacing)
            code = torch.arange(self.n_tables, device=r.device).repeat_interleave(intervals)
            read = ops.interpolate(r.repeat(self.n_tables), table.values, spacing, code)
            error = (read.view(self.n_tables, intervals, -1) - self(r)).abs().max()
            return float(error / table.values[:, :, 0].square().mean().sqrt().clamp(min=1e-30))

    def _distances(self, first: float, number: int, spacing: float) -> Tensor:
        device = self.attributes.device
        return (first + torch.arange(number, dtype=torch.float64, device=device)) * spacing


def tabulate(
    functions: Sequence[RadialFunction], tolerance: float, least: int = 0
) -> tuple[list[RadialTable], float] | None:
    """Tabulate layers in float64, all with the same knots, as many as it takes.

    Args:
        functions: R of each layer.
        tolerance: Largest error, see :class:`RadialTables`.
        least: Smallest number of intervals.

    Returns:
        The tables and their error; None where no number of intervals is enough, or a table would be too large.
    """
    with torch.no_grad():
        doubles = [function.double() for function in functions]
        for intervals in INTERVALS:
            if intervals < least:
                continue
            if not all(function.fits(intervals) for function in doubles):
                return None
            tables = [function.tabulate(intervals) for function in doubles]
            error = max(f.error(table) for f, table in zip(doubles, tables, strict=True))
            if error <= tolerance:
                return tables, error
    return None


def piecewise(
    basis: RadialEmbedding | PairedEmbedding | SplinedEmbedding, n_species: int
) -> RadialPieces | None:
    """Return a radial basis as polynomials between knots, to rounding; None where they come not as close.

    Each is the interpolant of the basis, in float64, at the roots of a Chebyshev polynomial; splines keep their knots.
    """
    exact = deepcopy(basis).double()
    n = n_species if basis.by_pair else 1
    pieces = (basis.values.shape[1] - 1,) if isinstance(basis, SplinedEmbedding) else PIECES
    z_j, z_i = torch.arange(n).repeat_interleave(n), torch.arange(n).repeat(n)
    roots = chebyshev.chebpts1(POWERS)
    to_powers = np.linalg.inv(np.vander(roots, POWERS, increasing=True))

    def between(intervals: int, u: np.ndarray) -> np.ndarray:
        """The basis at places u of each interval, (n_tables, intervals, len(u), num_radial)."""
        r = torch.from_numpy(
            (np.arange(intervals)[:, None] + 0.5 * (u + 1)).ravel() * (basis.cutoff / intervals)
        )
        of_tables = exact(r.repeat(n * n), *(z.repeat_interleave(len(r)) for z in (z_j, z_i)))
        return of_tables.view(n * n, intervals, len(u), -1).numpy()

    with torch.no_grad():
        for intervals in pieces:
            if n * n * intervals * POWERS * basis.num_radial > LARGEST:
                return None
            C = to_powers @ between(intervals, roots)
            halfway = chebyshev.chebpts2(POWERS + 1)
            expected = between(intervals, halfway)
            error = np.abs(np.vander(halfway, POWERS, increasing=True) @ C - expected).max()
            if error <= ROUNDING[basis.like.dtype] * np.sqrt(np.mean(expected**2)):
                return RadialPieces(torch.from_numpy(C).to(basis.like.dtype).contiguous(), basis.cutoff)
    return None
