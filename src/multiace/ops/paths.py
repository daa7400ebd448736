"""What the operations run over, and how their tensors are laid out: paths of a convolution and of a product
basis, matrices of a linear map."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from typing import NamedTuple

import numpy as np

from multiace.basis.coupling import count_paths, symmetric_coupling
from multiace.basis.irreps import Irrep, Irreps

__all__ = [
    "ConvolutionPaths",
    "LinearBlock",
    "Path",
    "PathGroup",
    "Polynomial",
    "ProductBlocks",
    "ProductPaths",
    "linear_blocks",
    "n_norm_weights",
    "n_weights",
]


class Path(NamedTuple):
    """One path (l1, l2 -> L): features of ``irrep_in`` times Y of degree ``l2`` give ``irrep_out``."""

    irrep_in: Irrep
    l2: int
    irrep_out: Irrep


class PathGroup(NamedTuple):
    """All paths between one irrep of h and one irrep of A; they differ in l2 only."""

    irrep_in: Irrep
    irrep_out: Irrep
    mul: int
    l2s: tuple[int, ...]
    weights: slice  # of the radial weights, (path, channel) with the channel last


ProductBlocks = tuple[tuple[int, int, int], ...]
"""Products R Y in blocks of one lm: lm, the first function of R, and how many functions."""


@dataclass(frozen=True)
class ConvolutionPaths:
    """All paths from ``irreps_in`` with Y up to ``l_max`` into ``targets``, grouped for the kernels.

    The radial weights R are (n_edges, n_weights): group by group, path by path, one weight per channel.
    The result A is (n_nodes, irreps_out.dim): one block (2L + 1, mul) per irrep L, its channels ordered
    group by group, then path by path, then channel.

    Attributes:
        irreps_in: Irreps of h.
        l_max: Largest degree of Y, whose parity is (-1)^l.
        targets: Irreps wanted in A; those no path reaches are left out.
    """

    irreps_in: Irreps
    l_max: int
    targets: tuple[Irrep, ...]

    @cached_property
    def groups(self) -> tuple[PathGroup, ...]:
        """Groups by irrep of h, then irrep of A."""
        groups, start = [], 0
        for mul, irrep_in in self.irreps_in:
            for target in self.targets:
                l2s = tuple(
                    l2
                    for l2 in range(abs(irrep_in.l - target.l), min(irrep_in.l + target.l, self.l_max) + 1)
                    if irrep_in.p * (-1) ** l2 == target.p
                )
                if l2s:
                    weights = slice(start, start + mul * len(l2s))
                    groups.append(PathGroup(irrep_in, target, mul, l2s, weights))
                    start = weights.stop
        return tuple(groups)

    @property
    def paths(self) -> list[Path]:
        """The paths in the order of the radial weights."""
        return [Path(g.irrep_in, l2, g.irrep_out) for g in self.groups for l2 in g.l2s]

    @cached_property
    def n_weights(self) -> int:
        """Number of radial weights per edge, Σ_paths channels."""
        return sum(g.mul * len(g.l2s) for g in self.groups)

    @cached_property
    def irreps_out(self) -> Irreps:
        """Irreps of A before the linear mixing: the channels of all paths side by side."""
        return Irreps(
            (sum(g.mul * len(g.l2s) for g in self.groups if g.irrep_out == target), target)
            for target in self.targets
        )


class Polynomial(NamedTuple):
    """The product basis written out, sorted for the kernels; e counts pairs (μ, M) with a coefficient.

    Monomials μ ascend in degree, then as their factors do; e ascends in μ.
    """

    factors: np.ndarray  # components of A, int32 (n_monomials, ν); those of lower degree end in -1
    monomial: np.ndarray  # μ of e, int32 (n_entries,)
    component: np.ndarray  # M of e, counted over all irreps of m, int32 (n_entries,)
    entry: np.ndarray  # e of each coefficient, ascending, int32 (n_coefficients,)
    path: np.ndarray  # η of each coefficient, counted over all irreps and orders, int32 (n_coefficients,)
    values: np.ndarray  # C, float64 (n_coefficients,)


@dataclass(frozen=True)
class ProductPaths:
    """All symmetrised products of up to ν factors A that give ``targets``.

    A is (n_nodes, components, channels), the components of its irreps one after another; m likewise. The
    weights W are (n_matrices, n_paths, channels): irrep by irrep of m, order by order, path by path.

    Attributes:
        irreps_in: Irreps of A.
        targets: Irreps of m.
        correlation: ν.
    """

    irreps_in: tuple[Irrep, ...]
    targets: tuple[Irrep, ...]
    correlation: int

    @cached_property
    def n_paths(self) -> dict[Irrep, int]:
        """Number of paths to each irrep of m."""
        orders = range(1, self.correlation + 1)
        return {irrep: sum(count_paths(self.irreps_in, irrep, n) for n in orders) for irrep in self.targets}

    @property
    def polynomial(self) -> Polynomial:
        """Monomials and coefficients of all paths together."""
        return _polynomial(self)


@cache
def _polynomial(paths: ProductPaths) -> Polynomial:
    n_in = sum(irrep.dim for irrep in paths.irreps_in)
    n_out = sum(irrep.dim for irrep in paths.targets)
    digits = (n_in + 1) ** np.arange(paths.correlation)[::-1]
    columns, values = [], []  # columns: (monomial as a number, component, path) of each coefficient
    first_path = first_component = 0
    for irrep in paths.targets:
        for order in range(1, paths.correlation + 1):
            coupling = symmetric_coupling(paths.irreps_in, irrep, order)
            path, M, monomial = coupling.indices
            numbers = (coupling.factors + 1) @ digits[-order:]  # ascend in degree, then as the factors do
            columns.append(np.stack([numbers[monomial], M + first_component, path + first_path]))
            values.append(coupling.values)
            first_path += coupling.n_paths
        first_component += irrep.dim
    number, component, path = np.concatenate(columns, axis=1)
    pairs, entry = np.unique(number * n_out + component, return_inverse=True)
    monomials, monomial = np.unique(pairs // n_out, return_inverse=True)
    factors = monomials[:, None] // digits % (n_in + 1) - 1
    factors = np.take_along_axis(factors, np.argsort(factors < 0, axis=1, kind="stable"), axis=1)
    by_entry = np.argsort(entry, kind="stable")
    return Polynomial(
        factors.astype(np.int32),
        monomial.astype(np.int32),
        (pairs % n_out).astype(np.int32),
        entry[by_entry].astype(np.int32),
        path[by_entry].astype(np.int32),
        np.concatenate(values)[by_entry],
    )


class LinearBlock(NamedTuple):
    """The matrix of one irrep in a linear map, and where its operands lie in a row of x, y and W."""

    irrep: Irrep
    mul_in: int
    mul_out: int
    x: slice
    y: slice
    weights: slice  # (channels in, channels out)


def linear_blocks(irreps_in: Irreps, irreps_out: Irreps) -> list[LinearBlock]:
    """One matrix for each irrep that both sides have, in the order of ``irreps_out``."""
    blocks, start = [], 0
    x, y = irreps_in.slices(), irreps_out.slices()
    for mul_out, irrep in irreps_out:
        mul_in = irreps_in.mul(irrep)
        if mul_in:
            weights = slice(start, start + mul_in * mul_out)
            blocks.append(LinearBlock(irrep, mul_in, mul_out, x[irrep], y[irrep], weights))
            start = weights.stop
    return blocks


def n_norm_weights(irreps: Irreps) -> int:
    """Number of gains and biases of a normalisation: a gain for each channel, a bias for each invariant."""
    return sum(mul for mul, _ in irreps) + irreps.mul("0e")


def n_weights(irreps_in: Irreps, irreps_out: Irreps) -> int:
    """Number of weights of a linear map, Σ channels in x channels out."""
    return sum(block.mul_in * block.mul_out for block in linear_blocks(irreps_in, irreps_out))


def gate_irreps(irreps_out: Irreps) -> Irreps:
    """Return what a gate reads to give ``irreps_out``: one more 0e channel for each channel of degree l > 0.

    The gates follow the scalars inside the block of 0e, in the order of the gated irreps.
    """
    n_gates = sum(mul for mul, irrep in irreps_out if irrep.l > 0)
    return Irreps((mul + n_gates if irrep.is_scalar else mul, irrep) for mul, irrep in irreps_out)
