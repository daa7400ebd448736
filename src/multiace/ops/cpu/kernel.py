"""What all kernels on a CPU share: their source, and how arguments become words."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Sequence
from functools import cache
from importlib.resources import files
from typing import ParamSpec, cast

import torch
from torch import Tensor

__all__ = [
    "ACTIVATIONS",
    "REALS",
    "address",
    "addresses",
    "as_text",
    "bits",
    "integers",
    "kernel",
    "rows_of",
    "smooth_source_of",
    "source_of",
]

P = ParamSpec("P")

REALS = {torch.float32: "float", torch.float64: "double"}


ACTIVATIONS = {
    "silu": "silu",
    "shifted_softplus": "shifted_softplus",
    "gelu": "gelu",
    "tanh": "tanh_",
    "relu": "relu",
    "abs": "abs_",
    "softsign": "softsign",
}
"""Activations that nilpotent.h has, and their names there."""


def source_of(dtype: torch.dtype, *names: str, **macros: object) -> str:
    """C source of files beside this folder, one after another, for a type of real."""
    macros = {"REAL_BYTES": dtype.itemsize, **macros}
    lines = [f"typedef {REALS[dtype]} real;", *(f"#define {name} {value}" for name, value in macros.items())]
    texts = [files("multiace.ops").joinpath(name).read_text(encoding="utf-8") for name in names]
    return "\n".join([*lines, *texts])


def smooth_source_of(name: str, dtype: torch.dtype, directions: int, **macros: str) -> str:
    """Source of a kernel of numbers with nilpotent parts."""
    return source_of(dtype, "matrix.h", "nilpotent.h", name, DIRECTIONS=directions, **macros)


def as_text(function: Callable[P, str]) -> Callable[P, str]:
    """Remember the text of a table; for ``torch.compile`` it is a constant.

    The mark is that of ``torch.compiler.assume_constant_result``, whose call would import all of the compiler.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return cast("Callable[P, str]", cache(function))


def rows_of(*tensors: Tensor | None) -> int:
    """Number of rows of the first tensor that there is."""
    return next(tensor.shape[0] for tensor in tensors if tensor is not None)


def address(tensor: Tensor | None) -> int:
    """Where the numbers of a contiguous tensor lie."""
    return 0 if tensor is None else tensor.data_ptr()


def integers(numbers: Sequence[int]) -> ctypes.Array:
    """Integers of eight bytes, as an array of C."""
    return (ctypes.c_int64 * len(numbers))(*numbers)


def addresses(base: Tensor, directions: Sequence[Sequence[Tensor | None]], place: int = 0) -> list[int]:
    """Addresses of a nonlinear argument and of its part of each direction."""
    return [base.data_ptr(), *(address(direction[place]) for direction in directions)]


@cache
def bits(number: float) -> int:
    """A double as a word."""
    return int.from_bytes(struct.pack("<d", number), "little", signed=True)


def kernel(library: ctypes.CDLL, name: str) -> Callable[..., None]:
    """A function of a library, called with the address of its words."""
    found = getattr(library, name)
    found.argtypes = [ctypes.c_void_p]
    found.restype = None
    return cast("Callable[..., None]", found)
