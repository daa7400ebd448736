"""Columns of a matrix, and sums: S(x, y)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from multiace.ops.compiler import compile_c
from multiace.ops.cpu.kernel import bits, kernel, rows_of, source_of
from multiace.ops.forms import Call, Form, Term

__all__ = ["MOVE", "call_add"]

LEAST_SHARED = 1 << 14  # values of a sum that several threads share


@cache
def _move_kernel(dtype: torch.dtype, name: str) -> Callable[..., None]:
    return kernel(compile_c(source_of(dtype, "matrix.h", "move.c", SHARED=LEAST_SHARED)), name)


def _move_shape(a: Sequence[Tensor | None], constants: Sequence[Any], slot: int) -> Sequence[int]:
    return rows_of(*a), constants[1 + slot]


def _call_move(term: Term, constants: Sequence[Any], slot: int, result: Tensor) -> Call:
    width, x_dim, y_dim, x_start, y_start, scale = constants
    x, y, *_ = term
    there = (x, result, x.shape[0], width, x_dim, y_dim, x_start, y_start) if slot else ()
    source, target, *sizes = there or (y, result, y.shape[0], width, y_dim, x_dim, y_start, x_start)
    words = [source.data_ptr(), target.data_ptr(), *sizes, torch.get_num_threads(), bits(scale)]
    return _move_kernel(result.dtype, "move"), words


MOVE = Form(
    "move",
    2,
    "int width, int x_dim, int y_dim, int x_start, int y_start, float scale",
    _move_shape,
    _call_move,
)


def call_add(parts: Sequence[Tensor], result: Tensor) -> Call:
    """The sum of two or more contiguous tensors of equal shape."""
    width = math.prod(result.shape[1:])
    sizes = (result.shape[0], width, len(parts), torch.get_num_threads())
    return _move_kernel(result.dtype, "add"), [
        result.data_ptr(),
        *sizes,
        *(part.data_ptr() for part in parts),
    ]
