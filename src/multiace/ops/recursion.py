"""Monomials by recursion: every one is a product of two values, most of which others use too."""

from __future__ import annotations

from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

__all__ = ["Monomials", "recursion"]


class Monomials(NamedTuple):
    """Monomials of the components of A, and how a kernel computes them.

    Values are the components, then 1, then products of two values before them; each monomial is a product of two
    values. Monomials with the same left value follow one another.

    Attributes:
        factors: Components of each monomial, (n, ν); -1 stands for 1.
        products: The two values of each product, (n_products, 2).
        left: The left value of each group of monomials, (n_groups,).
        first: Its first monomial, and n at the end, (n_groups + 1,).
        right: The right value of each monomial, (n,).
    """

    factors: Tensor
    products: Tensor
    left: Tensor
    first: Tensor
    right: Tensor


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
        factors[order],
        np.array(products).reshape(-1, 2),
        np.array([left for left, _ in grouped]),
        np.cumsum([0, *(size for _, size in grouped)]),
        np.array([pairs[n][1] for n in order]),
    )
    return Monomials(*(torch.from_numpy(array.astype(np.int64)) for array in arrays)), np.array(
        order, dtype=np.int64
    )
