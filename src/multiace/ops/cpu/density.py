"""The density of linear ACE: S(h, Y, R, g)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from multiace.ops.compiler import compile_c
from multiace.ops.cpu.kernel import address, as_text, integers, kernel, rows_of, source_of
from multiace.ops.forms import Call, Form, Term
from multiace.ops.paths import ProductBlocks

__all__ = ["DENSITY", "density", "encode_blocks"]


def density(
    h: Tensor,
    Y: Tensor,
    R: Tensor,
    senders: Tensor,
    receivers: Tensor,
    products: ProductBlocks,
    pairs: tuple[Tensor, Tensor] | None,
    order: tuple[Tensor, Tensor],
) -> Tensor:
    """Same as :func:`multiace.ops.reference.density`."""
    edges = (senders, *(pairs or (None, None)), *order)
    return DENSITY((h, Y, R), (*edges, h.shape[1], Y.shape[1], R.shape[1], encode_blocks(products)))


@as_text
def encode_blocks(products: ProductBlocks) -> str:
    """Write blocks as text."""
    return " ".join(f"{lm},{q},{n}" for lm, q, n in products)


@cache
def _product_blocks(text: str) -> tuple[int, int, Any]:
    """Number of blocks and of products, and the C array: blocks of the same q whose lm follow one another are one."""
    joined: list[list[int]] = []  # lm, how many, q, n
    for lm, q, n in ([int(number) for number in block.split(",")] for block in text.split()):
        if joined and joined[-1][2:] == [q, n] and sum(joined[-1][:2]) == lm:
            joined[-1][1] += 1
        else:
            joined.append([lm, 1, q, n])
    n_products = sum(count * n for _, count, _, n in joined)
    return len(joined), n_products, integers([number for block in joined for number in block])


def _density_shape(a: Sequence[Tensor | None], constants: Sequence[Any], slot: int) -> Sequence[int]:
    senders, pairs, *_, n_h, n_Y, n_R, text = constants
    n_rows = senders.shape[0] if pairs is None else pairs.shape[0]
    shapes = ((rows_of(a[0], a[3]), n_h), (senders.shape[0], n_Y), (n_rows, n_R))
    return shapes[slot] if slot < 3 else (rows_of(a[0], a[3]), _product_blocks(text)[1] * n_h)


@cache
def _density_kernel(dtype: torch.dtype, slot: int) -> Callable[..., None]:
    return kernel(compile_c(source_of(dtype, "matrix.h", "density.c")), f"derivative_{'hYRg'[slot]}")


def _call_density(terms: list[Term], constants: Sequence[Any], slot: int, result: Tensor) -> Call:
    senders, pairs, pair, first, reverse, n_h, n_Y, n_R, text = constants
    n_blocks, n_products, blocks = _product_blocks(text)
    n_rows = senders.shape[0] if pairs is None else pairs.shape[0]
    return _density_kernel(result.dtype, slot), [
        *map(address, (senders, pairs, pair, first, reverse)),
        *(ctypes.addressof(blocks), terms[0][0 if slot else 3].shape[0], senders.shape[0], n_rows),
        *(n_h, n_Y, n_R, n_blocks, n_products, torch.get_num_threads(), len(terms)),
        result.data_ptr(),
        *(0 if b == slot else argument.data_ptr() for term in terms for b, argument in enumerate(term)),
    ]


DENSITY = Form(
    "density",
    4,
    "Tensor senders, Tensor? pair_edges, Tensor? pair, Tensor first, Tensor reverse, int n_h, int n_Y, int n_R, "
    "str products",
    _density_shape,
    _call_density,
    sums=True,
)
