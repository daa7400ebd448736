"""Which irreps occur where: what one layer can reach from the features that come in."""

from __future__ import annotations

from multiace.basis.coupling import count_paths
from multiace.basis.irreps import Irrep, Irreps
from multiace.ops import ConvolutionPaths

__all__ = ["density_irreps", "irreps_by_depth", "message_irreps", "reachable_irreps"]


def density_irreps(h_in: Irreps, hidden: Irreps, l_max: int, correlation: int) -> list[Irrep]:
    """Irreps of the A-basis that paths lead to from ``h_in``.

    For ν = 1 only those of the hidden features are of use. For ν > 1 products can use every degree up to
    l_max: with parity (-1)^l, as in MACE, or with both if the hidden features have any other.
    """
    if correlation == 1:
        candidates = hidden.irreps
    else:
        natural = all(irrep.p == (-1) ** irrep.l for irrep in hidden.irreps)
        candidates = [
            Irrep(degree, sign * (-1) ** degree)
            for degree in range(l_max + 1)
            for sign in ((1,) if natural else (1, -1))
        ]
    return ConvolutionPaths(h_in, l_max, tuple(candidates)).irreps_out.irreps


def message_irreps(A: list[Irrep], hidden: Irreps, correlation: int, full: bool = False) -> Irreps:
    """The part of the hidden features that products of up to ν factors A reach.

    Factors of the same channel (not ``full``) give symmetric products only: a vector times itself has no
    part 1e, the product of two different vectors has one.
    """
    reached = products = set(A)
    for order in range(2, correlation + 1):
        if full:
            products = {irrep for left in products for right in A for irrep in left * right}
        else:
            left_out = set(hidden.irreps) - reached
            products = {ir for ir in left_out if count_paths(A, ir, order)}
        reached = reached | products
    return hidden.keep(reached)


def irreps_by_depth(hidden: Irreps, l_max: int, correlation: int, full: bool = False) -> list[Irreps]:
    """The part of the hidden features that occurs after 0, 1, ... layers, until no layer reaches more."""
    depths = [hidden.keep([Irrep(0, 1)])]
    while True:
        A = density_irreps(depths[-1], hidden, l_max, correlation)
        h = message_irreps(A, hidden, correlation, full)
        if h == depths[-1]:
            return depths
        depths.append(h)


def reachable_irreps(hidden: Irreps, l_max: int, correlation: int, full: bool = False) -> Irreps:
    """The part of the hidden features that occurs at some depth, starting from invariants alone."""
    return irreps_by_depth(hidden, l_max, correlation, full)[-1]
