"""Monomials of linear ACE: S(A; W, g)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from multiace.ops.compiler import compile_c
from multiace.ops.cpu.kernel import address, addresses, kernel, rows_of, smooth_source_of
from multiace.ops.forms import Call, Form, Term
from multiace.ops.recursion import Monomials

__all__ = ["MONOMIALS", "polynomial"]


def polynomial(A: Tensor, W: Tensor, species: Tensor | None, monomials: Monomials) -> Tensor:
    """Same as :func:`multiace.ops.reference.polynomial`."""
    _, *tables = monomials
    return MONOMIALS((A, W), (species, A.shape[1], W.shape[0], W.shape[1], W.shape[2], *tables))


def _monomials_shape(a: Sequence[Tensor | None], constants: Sequence[Any], slot: int) -> Sequence[int]:
    n_components, *sizes = constants[1:5]
    if slot == 1:
        return sizes
    return rows_of(a[0], a[2]), n_components if slot == 0 else sizes[-1]


@cache
def _monomials_kernel(dtype: torch.dtype, directions: int, slot: int) -> Callable[..., None]:
    return kernel(compile_c(smooth_source_of("monomials.c", dtype, directions)), f"derivative_{'AWg'[slot]}")


def _call_monomials(term: Term, constants: Sequence[Any], slot: int, result: Tensor) -> Call:
    A, W, g, *directions = term
    species, n_components, n_matrices, _, channels, *tables = constants
    return _monomials_kernel(A.dtype, len(directions), slot), [
        *addresses(A, directions),
        *(address(W), address(g), result.data_ptr(), address(species)),
        *(A.shape[0], n_matrices, channels, n_components, tables[1].shape[0]),
        *(torch.get_num_threads(), *map(address, tables)),
    ]


MONOMIALS = Form(
    "monomials",
    3,
    "Tensor? species, int n_components, int n_matrices, int n_monomials, int channels, "
    "Tensor products, Tensor first_product, Tensor left, Tensor first_group, Tensor first, Tensor right",
    _monomials_shape,
    _call_monomials,
    nonlinear=1,
)
