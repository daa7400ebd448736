"""The few expensive operations: plain PyTorch definitions in ``reference.py``, fast twins beside it.

A twin has the same signature and gives the same numbers; parameters and files do not know which one runs.
``MULTIACE_OPS=reference`` in the environment selects the definitions everywhere, ``MULTIACE_OPS=triton`` the GPU's
convolution on any device.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from multiace.basis.irreps import Irreps
from multiace.ops import cpu, gpu, reference
from multiace.ops.compiler import CompilerError
from multiace.ops.paths import ConvolutionPaths, ProductPaths
from multiace.ops.reference import Activation

if TYPE_CHECKING:
    from multiace.basis.angular import SphericalHarmonics
    from multiace.basis.radial import RadialEmbedding

__all__ = [
    "ConvolutionPaths",
    "ProductPaths",
    "convolution",
    "gate",
    "interpolate",
    "linear",
    "mlp",
    "radial_basis",
    "spherical_harmonics",
    "symmetric_product",
]


def convolution(
    h: Tensor,
    Y: Tensor,
    R: Tensor,
    senders: Tensor,
    receivers: Tensor,
    paths: ConvolutionPaths,
    pairs: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Sum the one-particle basis over neighbours; see :func:`multiace.ops.reference.convolution`."""
    implementation = cpu if (_on_cpu(h) and _compiles()) or _on_gpu(h) else reference
    return implementation.convolution(h, Y, R, senders, receivers, paths, pairs)


def linear(x: Tensor, W: Tensor, species: Tensor | None, irreps_in: Irreps, irreps_out: Irreps) -> Tensor:
    """Mix the channels of equal irreps; see :func:`multiace.ops.reference.linear`."""
    implementation = cpu if _on_cpu(x) and _compiles() else reference
    return implementation.linear(x, W, species, irreps_in, irreps_out)


def symmetric_product(A: Tensor, W: Tensor, species: Tensor | None, paths: ProductPaths) -> Tensor:
    """Sum the weighted products of up to ν factors; see :func:`multiace.ops.reference.symmetric_product`."""
    implementation = cpu if _on_cpu(A) and _compiles() else reference
    return implementation.symmetric_product(A, W, species, paths)


def gate(x: Tensor, irreps_out: Irreps, activation: Activation, odd_activation: Activation) -> Tensor:
    """Activate scalars and scale other irreps by them; see :func:`multiace.ops.reference.gate`."""
    implementation = cpu if _on_cpu(x) and _compiles() else reference
    return implementation.gate(x, irreps_out, activation, odd_activation)


def mlp(x: Tensor, W: Tensor, sizes: Sequence[int], fan_in: int, activation: Activation) -> Tensor:
    """Apply a perceptron without biases; see :func:`multiace.ops.reference.mlp`."""
    implementation = cpu if _on_cpu(x) and _compiles() else reference
    return implementation.mlp(x, W, sizes, fan_in, activation)


def interpolate(r: Tensor, table: Tensor, spacing: float, code: Tensor | None) -> Tensor:
    """Read radial weights from a table; see :func:`multiace.ops.reference.interpolate`."""
    implementation = cpu if _on_cpu(r) and _compiles() else reference
    return implementation.interpolate(r, table, spacing, code)


def spherical_harmonics(vectors: Tensor, angular: SphericalHarmonics) -> Tensor:
    """Evaluate Y_lm of vectors (n_edges, 3); ``angular`` is the definition."""
    if _on_cpu(vectors) and _compiles():
        return cpu.spherical_harmonics(vectors, angular.l_max)
    return angular(vectors, torch.linalg.vector_norm(vectors, dim=-1))


def radial_basis(
    lengths: Tensor, sender_species: Tensor, receiver_species: Tensor, radial: RadialEmbedding
) -> Tensor:
    """Evaluate e_n(r) of lengths (n_pairs,); ``radial`` is the definition."""
    if radial.is_plain_bessel and _on_cpu(lengths) and _compiles():
        e = cpu.bessel(lengths, radial.num_radial, radial.cutoff, radial.envelope_power)
        return e.to(radial.like.dtype)
    return radial(lengths, sender_species, receiver_species)


def _on_cpu(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu" and os.environ.get("MULTIACE_OPS") != "reference"


def _on_gpu(tensor: Tensor) -> bool:
    return tensor.is_cuda and os.environ.get("MULTIACE_OPS") != "reference" and _has_triton()


@lru_cache(maxsize=1)
def _has_triton() -> bool:
    """Whether Triton is installed; says so once where it is not."""
    if not gpu.available():
        warnings.warn("Triton is not installed; convolutions run in plain PyTorch, slower.", stacklevel=3)
    return gpu.available()


@torch.compiler.assume_constant_result
@lru_cache(maxsize=1)
def _compiles() -> bool:
    """Whether this machine compiles kernels; says so once where it does not."""
    try:
        cpu.check_compiler()
    except CompilerError as error:
        warnings.warn(f"{error}; the model runs in plain PyTorch, several times slower.", stacklevel=3)
        return False
    return True
