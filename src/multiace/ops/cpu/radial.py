"""Radial functions, as they are, from tables, and by pieces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from multiace.basis.envelope import SHORTEST
from multiace.ops.compiler import compile_c
from multiace.ops.cpu.kernel import address, addresses, bits, kernel, rows_of, smooth_source_of
from multiace.ops.forms import Call, Form, Term

__all__ = ["BESSEL", "PIECEWISE", "TABLE", "bessel", "interpolate", "piecewise"]


# ---------------------------------------------------------------------------- Bessel functions: S(r, g)


def bessel(lengths: Tensor, num_radial: int, cutoff: float, power: int) -> Tensor:
    """Same as :class:`multiace.basis.radial.BesselBasis` times :func:`multiace.basis.envelope.polynomial_envelope`."""
    return BESSEL((lengths,), (num_radial, cutoff, power))


def _bessel_shape(a: Sequence[Tensor | None], constants: Sequence[Any], slot: int) -> Sequence[int]:
    n_pairs = rows_of(*a)
    return (n_pairs,) if slot == 0 else (n_pairs, constants[0])


@cache
def _bessel_kernel(dtype: torch.dtype, directions: int, slot: int) -> Callable[..., None]:
    return kernel(compile_c(smooth_source_of("radial.c", dtype, directions)), f"derivative_{'rg'[slot]}")


def _call_bessel(term: Term, constants: Sequence[Any], slot: int, result: Tensor) -> Call:
    r, g, *directions = term
    num_radial, cutoff, power = constants
    return _bessel_kernel(r.dtype, len(directions), slot), [
        *addresses(r, directions),
        *(address(g), result.data_ptr()),
        *(r.shape[0], num_radial, power, torch.get_num_threads(), bits(cutoff), bits(SHORTEST * cutoff)),
    ]


BESSEL = Form(
    "bessel", 2, "int num_radial, float cutoff, int power", _bessel_shape, _call_bessel, nonlinear=1
)


# ---------------------------------------------------------------------------- radial tables: S(r, table, g)


def interpolate(r: Tensor, table: Tensor, spacing: float, code: Tensor | None) -> Tensor:
    """Same as :func:`multiace.ops.reference.interpolate`."""
    n_tables, n_knots, _, n_weights = table.shape
    return TABLE((r, table), (code, spacing, n_tables, n_knots, n_weights))


def _table_shape(a: Sequence[Tensor | None], constants: Sequence[Any], slot: int) -> Sequence[int]:
    *_, n_tables, n_knots, n_weights = constants
    if slot == 1:
        return n_tables, n_knots, 2, n_weights
    n_pairs = rows_of(a[0], a[2])
    return (n_pairs,) if slot == 0 else (n_pairs, n_weights)


@cache
def _table_kernel(dtype: torch.dtype, directions: int, slot: int) -> Callable[..., None]:
    return kernel(compile_c(smooth_source_of("table.c", dtype, directions)), f"derivative_{'rtg'[slot]}")


def _call_table(term: Term, constants: Sequence[Any], slot: int, result: Tensor) -> Call:
    r, table, g, *directions = term
    code, spacing, *sizes = constants
    return _table_kernel(r.dtype, len(directions), slot), [
        *addresses(r, directions),
        *(address(table), address(g), result.data_ptr()),
        *(r.shape[0], *sizes, torch.get_num_threads(), address(code), bits(spacing)),
    ]


TABLE = Form(
    "table",
    3,
    "Tensor? code, float spacing, int n_tables, int n_knots, int n_weights",
    _table_shape,
    _call_table,
    nonlinear=1,
)


# ---------------------------------------------------------------------------- polynomials between knots: S(v, g)


def piecewise(
    vectors: Tensor,
    tables: Tensor,
    cutoff: float,
    species: Tensor | None,
    senders: Tensor,
    receivers: Tensor,
    pairs: tuple[Tensor, Tensor],
) -> Tensor:
    """Same as :func:`multiace.ops.reference.piecewise`."""
    n_tables, *sizes = tables.shape
    constants = (tables, species, senders, receivers, pairs[0], cutoff, round(n_tables**0.5), *sizes)
    return PIECEWISE((vectors,), constants)


def _piecewise_shape(a: Sequence[Tensor | None], constants: Sequence[Any], slot: int) -> Sequence[int]:
    _, _, senders, _, pairs, *_, n_functions = constants
    return (senders.shape[0], 3) if slot == 0 else (pairs.shape[0], n_functions)


@cache
def _piecewise_kernel(dtype: torch.dtype, powers: int, directions: int, slot: int) -> Callable[..., None]:
    library = compile_c(smooth_source_of("piecewise.c", dtype, directions, POWERS=str(powers)))
    return kernel(library, f"derivative_{'vg'[slot]}")


def _call_piecewise(term: Term, constants: Sequence[Any], slot: int, result: Tensor) -> Call:
    v, g, *directions = term
    tables, species, senders, receivers, pairs, cutoff, n_species, n_intervals, powers, n_functions = (
        constants
    )
    return _piecewise_kernel(v.dtype, powers, len(directions), slot), [
        *addresses(v, directions),
        *(address(g), tables.data_ptr(), result.data_ptr()),
        *map(address, (pairs, senders, receivers, species)),
        *(v.shape[0], pairs.shape[0], n_species, n_intervals, n_functions, torch.get_num_threads()),
        bits(cutoff / n_intervals),
    ]


PIECEWISE = Form(
    "piecewise",
    2,
    "Tensor tables, Tensor? species, Tensor senders, Tensor receivers, Tensor pair_edges, float cutoff, int n_species, "
    "int n_intervals, int powers, int n_functions",
    _piecewise_shape,
    _call_piecewise,
    nonlinear=1,
)
