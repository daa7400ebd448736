"""Spherical harmonics: S(v, g)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from multiace.basis.angular import SphericalHarmonics
from multiace.ops.compiler import compile_c
from multiace.ops.cpu.kernel import address, addresses, kernel, rows_of, smooth_source_of
from multiace.ops.forms import Call, Form, Term

__all__ = ["HARMONICS", "spherical_harmonics"]


def spherical_harmonics(vectors: Tensor, l_max: int) -> Tensor:
    """Same as :class:`multiace.basis.angular.SphericalHarmonics`."""
    return HARMONICS((vectors,), (l_max,))


@cache
def _harmonics(l_max: int) -> tuple[list[int], list[np.ndarray]]:
    """Number of monomials, of Y, and what the addresses of the kernels' table point to."""
    module = SphericalHarmonics(l_max)
    parents, axes, before = [0], [0], 0
    for degree in range(l_max):
        parent, axis = module.get_buffer(f"origins_{degree}").tolist()
        parents += [before + index for index in parent]
        axes += axis
        before += (degree + 1) * (degree + 2) // 2
    Y, monomial = module.matrix.numpy().T.nonzero()
    begin = np.searchsorted(Y, np.arange((l_max + 1) ** 2 + 1))
    arrays = [np.array(values, dtype=np.int64) for values in (parents, axes, begin, monomial)]
    return [len(parents), (l_max + 1) ** 2], [*arrays, module.matrix.numpy()[monomial, Y]]


def _harmonics_shape(a: Sequence[Tensor | None], constants: Sequence[Any], slot: int) -> Sequence[int]:
    return rows_of(*a), 3 if slot == 0 else (constants[0] + 1) ** 2


@cache
def _harmonics_kernel(dtype: torch.dtype, directions: int, slot: int) -> Callable[..., None]:
    return kernel(compile_c(smooth_source_of("angular.c", dtype, directions)), f"derivative_{'vg'[slot]}")


def _call_harmonics(term: Term, constants: Sequence[Any], slot: int, result: Tensor) -> Call:
    v, g, *directions = term
    sizes, arrays = _harmonics(constants[0])
    return _harmonics_kernel(v.dtype, len(directions), slot), [
        *addresses(v, directions),
        *(address(g), result.data_ptr()),
        *(v.shape[0], *sizes, torch.get_num_threads(), *(array.ctypes.data for array in arrays)),
    ]


HARMONICS = Form("harmonics", 2, "int l_max", _harmonics_shape, _call_harmonics, nonlinear=1)
