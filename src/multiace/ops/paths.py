"""Which paths a convolution runs over, which matrices a linear map has, and how their tensors are laid out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from multiace.basis.irreps import Irrep, Irreps

__all__ = ["ConvolutionPaths", "LinearBlock", "Path", "PathGroup", "linear_blocks"]


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
