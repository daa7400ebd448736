"""Perceptrons: S(x, W, g)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from multiace.basis.irreps import Irrep, Irreps
from multiace.ops import reference
from multiace.ops.compiler import compile_c
from multiace.ops.cpu.gate import gate
from multiace.ops.cpu.kernel import (
    ACTIVATIONS,
    address,
    addresses,
    as_text,
    kernel,
    rows_of,
    smooth_source_of,
)
from multiace.ops.cpu.linear import LINEAR, encode_irreps
from multiace.ops.cpu.norm import layer_norm
from multiace.ops.forms import Call, Form, Term
from multiace.ops.reference import Activation

__all__ = ["MLP", "encode_layer", "mlp"]


def mlp(
    x: Tensor,
    W: Tensor,
    sizes: Sequence[int],
    fan_in: int,
    activation: Activation,
    norms: Sequence[Tensor] = (),
    start: int = 0,
) -> Tensor:
    """Same as :func:`multiace.ops.reference.mlp`."""
    if activation.name not in ACTIVATIONS:
        return reference.mlp(x, W, sizes, fan_in, activation, norms, start)
    if norms or start:
        return _one_by_one(x, W, sizes, fan_in, activation, norms, start)
    *widths, n_out = sizes
    n_in, start = widths[-1], sum(n * m for n, m in pairwise(widths))
    if len(widths) > 1:
        x = MLP((x, W), (activation.scale.to(x.dtype), activation.name, fan_in, list(sizes)))
        fan_in = n_in
    return LINEAR((x, W), (None, 1, encode_layer(n_in, n_out, start, fan_in)))


def _one_by_one(
    x: Tensor,
    W: Tensor,
    sizes: Sequence[int],
    fan_in: int,
    activation: Activation,
    norms: Sequence[Tensor],
    start: int,
) -> Tensor:
    """Linear maps, normalisations and activations one after another; an activation is a gate without gates."""
    for layer, (n, m) in enumerate(pairwise(sizes)):
        if layer > 0:
            hidden = Irreps([(n, Irrep(0, 1))])
            x = layer_norm(x, norms[layer - 1], hidden) if norms else x
            x = gate(x, hidden, activation, activation)
        x = LINEAR((x, W), (None, 1, encode_layer(n, m, start, n if layer > 0 else fan_in, W.shape[1])))
        start += n * m
    return x


@as_text
def encode_layer(n_in: int, n_out: int, start: int, fan_in: int, n_weights: int = 0) -> str:
    """Write a matrix as text, as :func:`encode_irreps` does."""
    x, y = (Irreps([(n, Irrep(0, 1))]) for n in (n_in, n_out))
    return encode_irreps(x, y, start, fan_in, n_weights)


def _mlp_shape(a: Sequence[Tensor | None], constants: Sequence[Any], slot: int) -> Sequence[int]:
    sizes = constants[-1]
    if slot == 1:
        return 1, sum(n * m for n, m in pairwise(sizes))
    return rows_of(a[0], a[2]), sizes[0] if slot == 0 else sizes[-2]


@cache
def _mlp_kernel(dtype: torch.dtype, activation: str, directions: int, slot: int) -> Callable[..., None]:
    source = smooth_source_of("mlp.c", dtype, directions, ACTIVATION=ACTIVATIONS[activation])
    return kernel(compile_c(source), f"derivative_{'xWg'[slot]}")


def _call_mlp(term: Term, constants: Sequence[Any], slot: int, result: Tensor) -> Call:
    x, W, g, *directions = term
    scale, activation, fan_in, sizes = constants
    return _mlp_kernel(x.dtype, activation, len(directions), slot), [
        *addresses(x, directions),
        *addresses(W, directions, 1),
        *(address(g), result.data_ptr(), scale.data_ptr()),
        *(x.shape[0], len(sizes) - 2, W.shape[1], fan_in, torch.get_num_threads(), *sizes[:-1]),
    ]


MLP = Form(
    "mlp", 3, "Tensor scale, str activation, int fan_in, int[] sizes", _mlp_shape, _call_mlp, nonlinear=2
)
