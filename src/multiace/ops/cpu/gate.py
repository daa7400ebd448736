"""Gates: S(x, g)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from multiace.basis.irreps import Irrep, Irreps
from multiace.ops import reference
from multiace.ops.compiler import compile_c
from multiace.ops.cpu.kernel import (
    ACTIVATIONS,
    address,
    addresses,
    integers,
    kernel,
    rows_of,
    smooth_source_of,
)
from multiace.ops.forms import Call, Form, Term
from multiace.ops.paths import gate_irreps
from multiace.ops.reference import Activation

__all__ = ["GATE", "check_compiler", "gate"]


def gate(x: Tensor, irreps_out: Irreps, activation: Activation, odd_activation: Activation) -> Tensor:
    """Same as :func:`multiace.ops.reference.gate`."""
    if activation.name not in ACTIVATIONS or odd_activation.name not in ACTIVATIONS:
        return reference.gate(x, irreps_out, activation, odd_activation)
    scales = (activation.scale.to(x.dtype), odd_activation.scale.to(x.dtype))
    return GATE((x,), (*scales, activation.name, odd_activation.name, str(irreps_out)))


@cache
def _gate_blocks(text: str) -> tuple[int, int, int, Any]:
    """Number of blocks, dimensions of x and y, and the C array of blocks."""
    irreps_out = Irreps.parse(text)
    irreps_in = gate_irreps(irreps_out)
    gates, numbers = irreps_in.slices()[Irrep(0, 1)].start + irreps_out.mul("0e"), []
    for (mul, irrep), part in zip(irreps_out, irreps_out.slices().values(), strict=True):
        odd = irrep.l == 0 and not irrep.is_scalar
        numbers += [irrep.dim, mul, irreps_in.slices()[irrep].start, part.start, gates, int(odd)]
        gates += mul if irrep.l > 0 else 0
    return len(irreps_out), irreps_in.dim, irreps_out.dim, integers(numbers)


def _gate_shape(a: Sequence[Tensor | None], constants: Sequence[Any], slot: int) -> Sequence[int]:
    _, x_dim, y_dim, _ = _gate_blocks(constants[-1])
    return rows_of(*a), x_dim if slot == 0 else y_dim


@cache
def _gate_kernel(
    dtype: torch.dtype, activation: str, odd: str, directions: int, slot: int
) -> Callable[..., None]:
    macros = {"ACTIVATION": ACTIVATIONS[activation], "ODD_ACTIVATION": ACTIVATIONS[odd]}
    source = smooth_source_of("gate.c", dtype, directions, **macros)
    return kernel(compile_c(source), f"derivative_{'xg'[slot]}")


def _call_gate(term: Term, constants: Sequence[Any], slot: int, result: Tensor) -> Call:
    x, g, *directions = term
    scale, odd_scale, activation, odd, text = constants
    *dims, blocks = _gate_blocks(text)
    return _gate_kernel(x.dtype, activation, odd, len(directions), slot), [
        *addresses(x, directions),
        *(address(g), result.data_ptr(), scale.data_ptr(), odd_scale.data_ptr()),
        ctypes.addressof(blocks),
        *(x.shape[0], *dims, torch.get_num_threads()),
    ]


GATE = Form(
    "gate",
    2,
    "Tensor scale, Tensor odd_scale, str activation, str odd_activation, str irreps",
    _gate_shape,
    _call_gate,
    nonlinear=1,
)


def check_compiler() -> None:
    """Compile and load one of the kernels.

    Raises:
        CompilerError: If that is not possible.
    """
    _gate_kernel(torch.float32, "gelu", "tanh", 0, 1)
