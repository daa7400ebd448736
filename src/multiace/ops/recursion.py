"""Monomials by recursion: every one is a product of two values, most of which others use too."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

__all__ = ["Monomials", "joined", "recursion"]


class Monomials(NamedTuple):
    """Monomials of the components of A, and how a kernel computes them.

    Values are the components, then 1, then products of two values before them; each monomial is a product of two
    values. Monomials with the same left value follow one another. There is one list of monomials for all elements, or
    one for each, with values of its own; then there is one matrix of coefficients, for all lists behind one another.

    Attributes:
        factors: Components of each monomial, (n, ν); -1 stands for 1.
        products: The two values of each product, (n_products, 2).
        first_product: The first product of each list, (n_lists + 1,).
        left: The left value of each group of monomials, (n_groups,).
        first_group: The first group of each list, (n_lists + 1,).
        first: The first monomial of each group, and n at the end, (n_groups + 1,).
        right: The right value of each monomial, (n,).
    """

    factors: Tensor
    products: Tensor
    first_product: Tensor
    left: Tensor
    first_group: Tensor
    first: Tensor
    right: Tensor

    @property
    def lists(self) -> list[slice]:
        """The monomials of each list."""
        ends = self.first[self.first_group].tolist()
        return [slice(*pair) for pair in pairwise(ends)]


def recursion(factors: np.ndarray, n_components: int) -> tuple[Monomials, np.ndarray]:
    """Order monomials so that they are computed with few products.

    Args:
        factors: Components of each monomial, (n, ν), ascending order of ν; -1 stands for 1 and comes last.
        n_components: Number of components of A.

    Returns:
        The monomials in their new order, and the old number of each, (n,).
    """
    values: dict[tuple[int, ...], int] = {(): n_components} | {(c,): c for c in range(n_components)}
    products: list[tuple[int, int]] = []

    def value(chosen: tuple[int, ...]) -> int:
        if chosen not in values:
            half = (len(chosen) + 1) // 2
            pair = value(chosen[:half]), value(chosen[half:])
            values[chosen] = n_components + 1 + len(products)
            products.append(pair)
        return values[chosen]

    pairs = []
    for row in factors.tolist():
        chosen = tuple(c for c in row if c >= 0)
        half = (len(chosen) + 1) // 2
        pairs.append((value(chosen[:half]), value(chosen[half:])))
    order = sorted(range(len(pairs)), key=pairs.__getitem__)
    grouped = [(left, len(list(group))) for left, group in groupby(pairs[n][0] for n in order)]
    arrays = (
        factors[np.array(order, dtype=np.int64)],
        np.array(products).reshape(-1, 2),
        np.array([0, len(products)]),
        np.array([left for left, _ in grouped]),
        np.array([0, len(grouped)]),
        np.cumsum([0, *(size for _, size in grouped)]),
        np.array([pairs[n][1] for n in order]),
    )
    return Monomials(*(torch.from_numpy(array.astype(np.int64)) for array in arrays)), np.array(
        order, dtype=np.int64
    )


def joined(lists: Sequence[Monomials]) -> Monomials:
    """Return the monomials of several elements, each with a list of one."""

    def behind(parts: Sequence[Tensor]) -> Tensor:
        """Numbers of first ones, (n + 1,) each, as if the parts were one."""
        return torch.cat([torch.zeros(1, dtype=torch.int64), *(part.diff() for part in parts)]).cumsum(0)

    return Monomials(
        torch.cat([monomials.factors for monomials in lists]),
        torch.cat([monomials.products for monomials in lists]),
        behind([monomials.first_product for monomials in lists]),
        torch.cat([monomials.left for monomials in lists]),
        behind([monomials.first_group for monomials in lists]),
        behind([monomials.first for monomials in lists]),
        torch.cat([monomials.right for monomials in lists]),
    )
