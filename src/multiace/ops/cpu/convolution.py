"""The convolution: S(x, Y, R, g)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from multiace.basis.irreps import Irrep, Irreps
from multiace.ops import gpu
from multiace.ops.codegen import convolution_source
from multiace.ops.compiler import compile_c
from multiace.ops.cpu.kernel import REALS, address, as_text, kernel, rows_of
from multiace.ops.forms import Call, Form, Term
from multiace.ops.paths import ConvolutionPaths

__all__ = ["CONVOLUTION", "convolution", "decode_paths", "encode_paths"]


def convolution(
    h: Tensor,
    Y: Tensor,
    R: Tensor,
    senders: Tensor,
    receivers: Tensor,
    paths: ConvolutionPaths,
    pairs: tuple[Tensor, Tensor] | None = None,
    order: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Same as :func:`multiace.ops.reference.convolution`."""
    edges = (senders, receivers, *(pairs or (None, None)), *(order or (None, None)))
    return CONVOLUTION((h, Y, R), (*edges, encode_paths(paths)))


@as_text
def encode_paths(paths: ConvolutionPaths) -> str:
    """Write a table as text, since an operator's arguments are tensors, numbers and strings."""
    return f"{paths.irreps_in}|{paths.l_max}|{' '.join(map(str, paths.targets))}"


@cache
def decode_paths(text: str) -> ConvolutionPaths:
    """Read what :func:`encode_paths` wrote."""
    irreps, l_max, targets = text.split("|")
    return ConvolutionPaths(Irreps.parse(irreps), int(l_max), tuple(map(Irrep.parse, targets.split())))


def _convolution_shape(a: Sequence[Tensor | None], constants: Sequence[Any], slot: int) -> Sequence[int]:
    senders, _, rows, *_, text = constants
    if slot in (1, 2):
        n_rows = senders.shape[0] if slot == 1 or rows is None else rows.shape[0]
    else:
        n_rows = rows_of(a[0], a[3])
    return n_rows, _convolution_widths(text)[slot]


@cache
def _convolution_widths(text: str) -> tuple[int, int, int, int]:
    """Values in a row of x, Y, R and g."""
    paths = decode_paths(text)
    return paths.irreps_in.dim, (paths.l_max + 1) ** 2, paths.n_weights, paths.irreps_out.dim


@cache
def _convolution_kernel(text: str, dtype: torch.dtype, slot: int) -> Callable[..., None]:
    library = compile_c(convolution_source(decode_paths(text), REALS[dtype]))
    return kernel(library, f"derivative_{'xYRg'[slot]}")


def _call_convolution(terms: list[Term], constants: Sequence[Any], slot: int, result: Tensor) -> Call:
    senders, receivers, rows, row_of_edge, *_, text = constants
    n_nodes, n_edges = terms[0][0 if slot else 3].shape[0], senders.shape[0]
    n_rows = n_edges if rows is None else rows.shape[0]
    return _convolution_kernel(text, result.dtype, slot), [
        *map(address, (senders, receivers, row_of_edge, rows)),
        *(n_nodes, n_edges, n_rows, len(terms), torch.get_num_threads()),
        result.data_ptr(),
        *(0 if b == slot else argument.data_ptr() for term in terms for b, argument in enumerate(term)),
    ]


def _convolution_on_gpu(terms: list[Term], constants: Sequence[Any], slot: int, result: Tensor) -> None:
    *edges, text = constants
    gpu.run_convolution(terms, gpu.Edges(*edges), decode_paths(text), slot, result)


CONVOLUTION = Form(
    "convolution",
    4,
    "Tensor senders, Tensor receivers, Tensor? pair_edges, Tensor? pair, Tensor? first, Tensor? reverse, str paths",
    _convolution_shape,
    _call_convolution,
    sums=True,
    on_gpu=_convolution_on_gpu,
)
