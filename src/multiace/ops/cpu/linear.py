"""Linear maps: S(x, W, y)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from multiace.basis.irreps import Irreps
from multiace.ops.compiler import compile_c
from multiace.ops.cpu.kernel import address, as_text, integers, kernel, rows_of, source_of
from multiace.ops.forms import Call, Form, Term
from multiace.ops.paths import linear_blocks

__all__ = ["LINEAR", "encode_irreps", "linear"]


def linear(x: Tensor, W: Tensor, species: Tensor | None, irreps_in: Irreps, irreps_out: Irreps) -> Tensor:
    """Same as :func:`multiace.ops.reference.linear`."""
    return LINEAR((x, W), (species, W.shape[0], encode_irreps(irreps_in, irreps_out)))


@as_text
def encode_irreps(
    irreps_in: Irreps, irreps_out: Irreps, start: int = 0, fan_in: int = 0, n_weights: int = 0
) -> str:
    """Write the irreps of both sides as text, where the weights begin in a row of W, K (0: the channels of x), and how
    long the row is (0: it ends with these weights)."""
    return f"{irreps_in}|{irreps_out}|{start}|{fan_in}|{n_weights}"


@cache
def _blocks(text: str) -> tuple[int, int, int, int, Any]:
    """Number of blocks, values in a row of x, y and W, and the C array of blocks."""
    *sides, start, fan_in, n_weights = text.split("|")
    irreps_in, irreps_out = map(Irreps.parse, sides)
    blocks = linear_blocks(irreps_in, irreps_out)
    numbers = []
    for b in blocks:
        numbers += [b.irrep.dim, b.mul_in, b.mul_out, b.x.start, b.y.start]
        numbers += [int(start) + b.weights.start, int(fan_in) or b.mul_in]
    end = int(start) + (blocks[-1].weights.stop if blocks else 0)
    return len(blocks), irreps_in.dim, irreps_out.dim, int(n_weights) or end, integers(numbers)


def _linear_shape(a: Sequence[Tensor | None], constants: Sequence[Any], slot: int) -> Sequence[int]:
    _, n_matrices, text = constants
    _, x_dim, y_dim, n_weights, _ = _blocks(text)
    if slot == 1:
        return n_matrices, n_weights
    return rows_of(a[0], a[2]), x_dim if slot == 0 else y_dim


@cache
def _linear_kernel(dtype: torch.dtype, slot: int) -> Callable[..., None]:
    return kernel(compile_c(source_of(dtype, "matrix.h", "linear.c")), f"derivative_{'xWy'[slot]}")


def _call_linear(terms: list[Term], constants: Sequence[Any], slot: int, result: Tensor) -> Call:
    species, n_matrices, text = constants
    *dims, blocks = _blocks(text)
    n_nodes = rows_of(terms[0][0] if slot else None, terms[0][2])
    return _linear_kernel(result.dtype, slot), [
        *(address(species), ctypes.addressof(blocks)),
        *(n_nodes, n_matrices, *dims, len(terms), torch.get_num_threads()),
        result.data_ptr(),
        *(0 if b == slot else argument.data_ptr() for term in terms for b, argument in enumerate(term)),
    ]


LINEAR = Form(
    "linear", 3, "Tensor? species, int n_matrices, str irreps", _linear_shape, _call_linear, sums=True
)
