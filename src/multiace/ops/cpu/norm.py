"""Layer normalisation of irreps: S(x, W, g)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from multiace.basis.irreps import Irreps
from multiace.ops.compiler import compile_c
from multiace.ops.cpu.kernel import address, addresses, bits, integers, kernel, rows_of, smooth_source_of
from multiace.ops.forms import Call, Form, Term
from multiace.ops.paths import n_norm_weights
from multiace.ops.reference import NORM_EPSILON

__all__ = ["LAYER_NORM", "layer_norm"]


def layer_norm(x: Tensor, W: Tensor, irreps: Irreps) -> Tensor:
    """Same as :func:`multiace.ops.reference.layer_norm`."""
    return LAYER_NORM((x, W), (str(irreps),))


@cache
def _norm_blocks(text: str) -> tuple[Any, int, int, int, int]:
    """The C array of blocks, their number, that of those which are not invariants, and the sizes of rows of x and W."""
    irreps, numbers, gains = Irreps.parse(text), [], 0
    for (mul, irrep), part in zip(irreps, irreps.slices().values(), strict=True):
        numbers += [part.start, irrep.dim * mul, mul, gains, int(irrep.is_scalar)]
        gains += mul
    others = sum(not irrep.is_scalar for irrep in irreps.irreps)
    return integers(numbers), len(irreps), others, irreps.dim, n_norm_weights(irreps)


def _norm_shape(a: Sequence[Tensor | None], constants: Sequence[Any], slot: int) -> Sequence[int]:
    *_, dim, n_weights = _norm_blocks(constants[0])
    return (1, n_weights) if slot == 1 else (rows_of(a[0], a[2]), dim)


@cache
def _norm_kernel(dtype: torch.dtype, directions: int, slot: int) -> Callable[..., None]:
    source = smooth_source_of("norm.c", dtype, directions)
    return kernel(compile_c(source), f"derivative_{'xWg'[slot]}")


def _call_norm(term: Term, constants: Sequence[Any], slot: int, result: Tensor) -> Call:
    x, W, g, *directions = term
    blocks, *sizes = _norm_blocks(constants[0])
    return _norm_kernel(x.dtype, len(directions), slot), [
        *addresses(x, directions),
        *(address(W), address(g), result.data_ptr(), ctypes.addressof(blocks)),
        *(x.shape[0], *sizes, torch.get_num_threads(), bits(NORM_EPSILON)),
    ]


LAYER_NORM = Form("layer_norm", 3, "str irreps", _norm_shape, _call_norm, nonlinear=1)
