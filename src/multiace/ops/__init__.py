"""The few expensive operations: plain PyTorch definitions in ``reference.py``, fast twins beside it.

A twin gives the same numbers, to the third derivative; parameters and files do not know which one runs.
:func:`spherical_harmonics` and :func:`radial_basis` are defined by the modules of ``basis/``.
On a GPU the convolution and the product basis are Triton kernels, and maps by element have a way of their own; the rest
runs as defined: perceptrons and other maps are cuBLAS's matrix products, and gates, norms, harmonics, radial functions
and tables a few elementwise operations on small tensors, whose launches a CUDA graph replays at once.

``MULTIACE_OPS=reference`` in the environment selects the definitions everywhere, ``MULTIACE_OPS=triton`` what a GPU
runs on any device; :func:`~multiace.ops.choice.definitions` does the former for a block of code.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import lru_cache
from types import ModuleType
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from multiace.basis.irreps import Irreps
from multiace.basis.radial import PairedEmbedding, RadialEmbedding
from multiace.basis.spline import SplinedEmbedding
from multiace.ops import cpu, gpu, gpu_linear, reference
from multiace.ops import rows as rows_reference
from multiace.ops.choice import choice
from multiace.ops.compiler import CompilerError
from multiace.ops.forms import traced
from multiace.ops.paths import ConvolutionPaths, ProductBlocks, ProductPaths
from multiace.ops.recorder import Computation, Recorder, UnrecordableError
from multiace.ops.recursion import Monomials, joined, recursion
from multiace.ops.reference import Activation
from multiace.ops.rows import AROUND, VOIGT, Functions, Surroundings

if TYPE_CHECKING:
    import numpy as np

    from multiace.basis.angular import SphericalHarmonics

__all__ = [
    "AROUND",
    "VOIGT",
    "Computation",
    "ConvolutionPaths",
    "Functions",
    "Monomials",
    "ProductBlocks",
    "ProductPaths",
    "Recorder",
    "Surroundings",
    "add_rows",
    "convolution",
    "density",
    "finnis_sinclair",
    "fused",
    "gate",
    "interpolate",
    "joined",
    "layer_norm",
    "linear",
    "mlp",
    "piecewise",
    "polynomial",
    "radial_basis",
    "recursion",
    "spherical_harmonics",
    "symmetric_product",
    "value_and_gradients",
]


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
    """Sum the one-particle basis over neighbours; see :func:`multiace.ops.reference.convolution`."""
    return _implementation(h, on_gpu=cpu).convolution(h, Y, R, senders, receivers, paths, pairs, order)


def linear(x: Tensor, W: Tensor, species: Tensor | None, irreps_in: Irreps, irreps_out: Irreps) -> Tensor:
    """Mix the channels of equal irreps; see :func:`multiace.ops.reference.linear`."""
    return _implementation(x, on_gpu=gpu_linear).linear(x, W, species, irreps_in, irreps_out)


def symmetric_product(A: Tensor, W: Tensor, species: Tensor | None, paths: ProductPaths) -> Tensor:
    """Sum the weighted products of up to ν factors; see :func:`multiace.ops.reference.symmetric_product`."""
    return _implementation(A, on_gpu=cpu).symmetric_product(A, W, species, paths)


def density(
    h: Tensor,
    Y: Tensor,
    R: Tensor,
    senders: Tensor,
    receivers: Tensor,
    products: ProductBlocks,
    pairs: tuple[Tensor, Tensor] | None,
    order: tuple[Tensor, Tensor],
) -> Tensor:
    """Sum products of R and Y over neighbours; see :func:`multiace.ops.reference.density`."""
    return _implementation(h).density(h, Y, R, senders, receivers, products, pairs, order)


def piecewise(
    vectors: Tensor,
    tables: Tensor,
    cutoff: float,
    species: Tensor | None,
    senders: Tensor,
    receivers: Tensor,
    pairs: tuple[Tensor, Tensor],
) -> Tensor:
    """Evaluate radial functions between knots; see :func:`multiace.ops.reference.piecewise`."""
    return _implementation(vectors).piecewise(vectors, tables, cutoff, species, senders, receivers, pairs)


def polynomial(A: Tensor, W: Tensor, species: Tensor | None, monomials: Monomials) -> Tensor:
    """Sum monomials of all components; see :func:`multiace.ops.reference.polynomial`."""
    return _implementation(A).polynomial(A, W, species, monomials)


def add_rows(functions: Functions, atoms: Surroundings, rows: np.ndarray) -> None:
    """Add rows of linear ACE, on the CPU, not differentiable; see :func:`multiace.ops.rows.add_rows`."""
    compiled = choice() == "" and _compiles()
    (cpu if compiled else rows_reference).add_rows(functions, atoms, rows)


def gate(x: Tensor, irreps_out: Irreps, activation: Activation, odd_activation: Activation) -> Tensor:
    """Activate scalars and scale other irreps by them; see :func:`multiace.ops.reference.gate`."""
    return _implementation(x).gate(x, irreps_out, activation, odd_activation)


def layer_norm(x: Tensor, W: Tensor, irreps: Irreps) -> Tensor:
    """Normalise irreps; see :func:`multiace.ops.reference.layer_norm`."""
    return _implementation(x).layer_norm(x, W, irreps)


def mlp(
    x: Tensor,
    W: Tensor,
    sizes: Sequence[int],
    fan_in: int,
    activation: Activation,
    norms: Sequence[Tensor] = (),
    start: int = 0,
) -> Tensor:
    """Apply a perceptron without biases; see :func:`multiace.ops.reference.mlp`."""
    return _implementation(x).mlp(x, W, sizes, fan_in, activation, norms, start)


def finnis_sinclair(x: Tensor, exponents: Sequence[float]) -> Tensor:
    """Raise densities to powers; see :func:`multiace.ops.reference.finnis_sinclair`."""
    return _implementation(x).finnis_sinclair(x, exponents)


def interpolate(r: Tensor, table: Tensor, spacing: float, code: Tensor | None) -> Tensor:
    """Read radial weights from a table; see :func:`multiace.ops.reference.interpolate`."""
    return _implementation(r).interpolate(r, table, spacing, code)


def spherical_harmonics(vectors: Tensor, angular: SphericalHarmonics) -> Tensor:
    """Evaluate Y_lm of vectors (n_edges, 3); ``angular`` is the definition."""
    if _implementation(vectors) is cpu:
        return cpu.spherical_harmonics(vectors, angular.l_max)
    return angular(vectors, torch.linalg.vector_norm(vectors, dim=-1))


def radial_basis(
    lengths: Tensor,
    sender_species: Tensor,
    receiver_species: Tensor,
    radial: RadialEmbedding | PairedEmbedding | SplinedEmbedding,
) -> Tensor:
    """Evaluate e_n(r) of lengths (n_pairs,); ``radial`` is the definition."""
    if isinstance(radial, SplinedEmbedding):
        code = radial.code(sender_species, receiver_species)
        e = interpolate(lengths.to(radial.values.dtype), radial.values, radial.spacing, code)
        return e.to(radial.like.dtype)
    if isinstance(radial, PairedEmbedding):
        parts = (radial.products, radial.pair)
        return torch.cat(
            [radial_basis(lengths, sender_species, receiver_species, part) for part in parts], dim=1
        )
    if radial.is_plain_bessel and _implementation(lengths) is cpu:
        e = cpu.bessel(lengths, radial.num_radial, radial.cutoff, radial.envelope_power)
        return e.to(radial.like.dtype)
    return radial(lengths, sender_species, receiver_species)


def fused(recorder: Recorder, computation: Computation) -> Tensor:
    """Return the result of a computation, as one operation where that is possible.

    Args:
        recorder: Of the module that the computation belongs to.
        computation: Any; one that does more than a recorder can write down is called as it is from then on.
    """
    function, tensors, *_ = computation
    if _records(recorder, tensors):
        try:
            return recorder(computation)
        except UnrecordableError:
            recorder.succeeds = False
    return function(*tensors)


def value_and_gradients(
    recorder: Recorder, computation: Computation, cotangents: Sequence[Tensor], wanted: Sequence[int]
) -> tuple[Tensor, Sequence[Sequence[Tensor]]]:
    """Return the result of a computation, and gradients of <cotangent, result>; all without a graph.

    Args:
        recorder: Of the module that the computation belongs to.
        computation: As in :func:`fused`.
        cotangents: One or several, each of the shape of the result, which is computed once.
        wanted: Numbers of the arguments whose gradients are returned for each cotangent.
    """
    function, tensors, *_ = computation
    if _records(recorder, tensors):
        try:
            return recorder.value_and_gradients(computation, cotangents, wanted)
        except UnrecordableError:
            recorder.succeeds = False
    with torch.enable_grad():
        arguments = [tensor.detach().requires_grad_(n in wanted) for n, tensor in enumerate(tensors)]
        value = function(*arguments)
        leaves, last = [arguments[n] for n in wanted], len(cotangents) - 1
        gradients = [
            torch.autograd.grad([value], leaves, [w], retain_graph=n < last, materialize_grads=True)
            for n, w in enumerate(cotangents)
        ]
    return value.detach(), gradients


def _records(recorder: Recorder, tensors: Sequence[Tensor]) -> bool:
    """Whether a computation with these arguments may be recorded."""
    first = tensors[0]
    return recorder.succeeds and first.is_cpu and not traced(tensors) and _implementation(first) is cpu


def _implementation(tensor: Tensor, on_gpu: ModuleType = reference) -> ModuleType:
    """Return ``cpu`` where its kernels run on a CPU, else ``reference``.

    Args:
        tensor: An argument of the operation.
        on_gpu: What runs on a GPU instead of the definition; ``cpu`` has Triton's kernels too.

    Raises:
        InputError: If ``MULTIACE_OPS`` is not one of the choices.
    """
    chosen = choice()
    if chosen == "reference":
        return reference
    if chosen == "triton":
        return on_gpu
    if tensor.is_cpu:
        return cpu if torch.compiler.is_compiling() or _compiles() else reference
    return on_gpu if tensor.is_cuda and (on_gpu is not cpu or _has_triton()) else reference


@lru_cache(maxsize=1)
def _has_triton() -> bool:
    """Whether Triton is installed; says so once where it is not."""
    if not gpu.available():
        warnings.warn(
            "Triton is not installed; convolutions and products run in plain PyTorch, slower.", stacklevel=3
        )
    return gpu.available()


@lru_cache(maxsize=1)
def _compiles() -> bool:
    """Whether this machine compiles kernels; says so once where it does not."""
    try:
        cpu.check_compiler()
    except CompilerError as error:
        warnings.warn(f"{error}; the model runs in plain PyTorch, several times slower.", stacklevel=3)
        return False
    return True
