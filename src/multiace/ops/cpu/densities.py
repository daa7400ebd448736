"""Powers of densities: S(x, g)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from multiace.ops.compiler import compile_c
from multiace.ops.cpu.kernel import address, addresses, bits, kernel, rows_of, smooth_source_of
from multiace.ops.forms import Call, Form, Term

__all__ = ["FINNIS_SINCLAIR", "finnis_sinclair"]


def finnis_sinclair(x: Tensor, exponents: Sequence[float]) -> Tensor:
    """Same as :func:`multiace.ops.reference.finnis_sinclair`."""
    return FINNIS_SINCLAIR((x,), (list(exponents),))


def _finnis_sinclair_shape(a: Sequence[Tensor | None], constants: Sequence[Any], slot: int) -> Sequence[int]:
    return rows_of(*a), len(constants[0])


@cache
def _finnis_sinclair_kernel(dtype: torch.dtype, directions: int, slot: int) -> Callable[..., None]:
    source = smooth_source_of("finnis_sinclair.c", dtype, directions)
    return kernel(compile_c(source), f"derivative_{'xg'[slot]}")


def _call_finnis_sinclair(term: Term, constants: Sequence[Any], slot: int, result: Tensor) -> Call:
    x, g, *directions = term
    (exponents,) = constants
    return _finnis_sinclair_kernel(x.dtype, len(directions), slot), [
        *addresses(x, directions),
        *(address(g), result.data_ptr()),
        *(x.shape[0], len(exponents), torch.get_num_threads(), *map(bits, exponents)),
    ]


FINNIS_SINCLAIR = Form(
    "finnis_sinclair", 2, "float[] exponents", _finnis_sinclair_shape, _call_finnis_sinclair, nonlinear=1
)
