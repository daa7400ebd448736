"""The expensive operations on a CPU: compiled C behind torch.library, the numbers of ``reference.py``."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from multiace.basis.irreps import Irrep, Irreps
from multiace.ops.codegen import convolution_source
from multiace.ops.compiler import compile_c
from multiace.ops.forms import MultilinearForm
from multiace.ops.paths import ConvolutionPaths, ProductPaths, linear_blocks

__all__ = ["check_compiler", "convolution", "linear", "symmetric_product"]

REALS = {torch.float32: "float", torch.float64: "double"}


def check_compiler() -> None:
    """Compile and load a trivial function, with the OpenMP runtime that the kernels use.

    Raises:
        CompilerError: If that is not possible.
    """
    compile_c("#include <omp.h>\nint threads(void) { return omp_get_max_threads(); }\n").threads()


# ---------------------------------------------------------------------------- convolution: S(x, Y, R, g)


def convolution(
    h: Tensor, Y: Tensor, R: Tensor, senders: Tensor, receivers: Tensor, paths: ConvolutionPaths
) -> Tensor:
    """Same as :func:`multiace.ops.reference.convolution`."""
    g = h.new_empty(h.shape[0], 0)
    return CONVOLUTION((h, Y, R, g), (senders, receivers, encode_paths(paths)), 3)


@cache
def encode_paths(paths: ConvolutionPaths) -> str:
    """Write a table as text, since an operator's arguments are tensors, numbers and strings."""
    return f"{paths.irreps_in}|{paths.l_max}|{' '.join(map(str, paths.targets))}"


@cache
def decode_paths(text: str) -> ConvolutionPaths:
    """Read what :func:`encode_paths` wrote."""
    irreps, l_max, targets = text.split("|")
    return ConvolutionPaths(Irreps.parse(irreps), int(l_max), tuple(map(Irrep.parse, targets.split())))


def _convolution_shape(arguments: Sequence[Tensor], constants: Sequence[Any], wrt: int) -> Sequence[int]:
    senders, _, text = constants
    paths = decode_paths(text)
    n_nodes = arguments[0 if wrt == 3 else 3].shape[0]
    return (
        (n_nodes, paths.irreps_in.dim),
        (senders.shape[0], (paths.l_max + 1) ** 2),
        (senders.shape[0], paths.n_weights),
        (n_nodes, paths.irreps_out.dim),
    )[wrt]


@cache
def _convolution_kernel(text: str, dtype: torch.dtype, wrt: int) -> Callable[..., None]:
    library = compile_c(convolution_source(decode_paths(text), REALS[dtype]))
    function = getattr(library, f"derivative_{'xYRg'[wrt]}")
    function.argtypes = [ctypes.c_void_p] * 6 + [ctypes.c_int64] * 2 + [ctypes.c_int]
    function.restype = None
    return function


def _run_convolution(arguments: Sequence[Tensor], constants: Sequence[Any], wrt: int) -> None:
    senders, receivers, text = constants
    _convolution_kernel(text, arguments[wrt].dtype, wrt)(
        *(tensor.data_ptr() for tensor in (*arguments, senders.contiguous(), receivers.contiguous())),
        arguments[0].shape[0],
        senders.shape[0],
        torch.get_num_threads(),
    )


CONVOLUTION = MultilinearForm(
    "convolution_derivative",
    "Tensor senders, Tensor receivers, str paths",
    _convolution_shape,
    _run_convolution,
)


# ---------------------------------------------------------------------------- linear maps: S(x, W, y)


def linear(x: Tensor, W: Tensor, species: Tensor | None, irreps_in: Irreps, irreps_out: Irreps) -> Tensor:
    """Same as :func:`multiace.ops.reference.linear`."""
    irreps = encode_irreps(irreps_in, irreps_out)
    return LINEAR((x, W, x.new_empty(x.shape[0], 0)), (species, W.shape[0], irreps), 2)


@cache
def encode_irreps(irreps_in: Irreps, irreps_out: Irreps) -> str:
    """Write the irreps of both sides as text."""
    return f"{irreps_in}|{irreps_out}"


@cache
def _blocks(text: str) -> tuple[Irreps, Irreps, int, int, Any]:
    """Irreps of both sides, number of blocks and weights, and the C array of blocks."""
    irreps_in, irreps_out = map(Irreps.parse, text.split("|"))
    blocks = linear_blocks(irreps_in, irreps_out)
    numbers = [
        number
        for b in blocks
        for number in (b.irrep.dim, b.mul_in, b.mul_out, b.x.start, b.y.start, b.weights.start)
    ]
    n_weights = blocks[-1].weights.stop if blocks else 0
    return irreps_in, irreps_out, len(blocks), n_weights, (ctypes.c_int64 * len(numbers))(*numbers)


def _linear_shape(arguments: Sequence[Tensor], constants: Sequence[Any], wrt: int) -> Sequence[int]:
    _, n_matrices, text = constants
    irreps_in, irreps_out, _, n_weights, _ = _blocks(text)
    n_nodes = arguments[2 if wrt == 0 else 0].shape[0]
    return ((n_nodes, irreps_in.dim), (n_matrices, n_weights), (n_nodes, irreps_out.dim))[wrt]


@cache
def _linear_kernel(dtype: torch.dtype, wrt: int) -> Callable[..., None]:
    source = files("multiace.ops").joinpath("linear.c").read_text(encoding="utf-8")
    library = compile_c(f"typedef {REALS[dtype]} real;\n{source}")
    function = getattr(library, f"derivative_{'xWy'[wrt]}")
    function.argtypes = [ctypes.c_void_p] * 6
    function.restype = None
    return function


def _run_linear(arguments: Sequence[Tensor], constants: Sequence[Any], wrt: int) -> None:
    species, n_matrices, text = constants
    irreps_in, irreps_out, n_blocks, n_weights, blocks = _blocks(text)
    sizes = (ctypes.c_int64 * 7)(
        arguments[0].shape[0],
        n_matrices,
        n_blocks,
        irreps_in.dim,
        irreps_out.dim,
        n_weights,
        torch.get_num_threads(),
    )
    _linear_kernel(arguments[wrt].dtype, wrt)(
        *(tensor.data_ptr() for tensor in arguments),
        None if species is None else species.contiguous().data_ptr(),
        ctypes.addressof(blocks),
        ctypes.addressof(sizes),
    )


LINEAR = MultilinearForm(
    "linear_derivative",
    "Tensor? species, int n_matrices, str irreps",
    _linear_shape,
    _run_linear,
)


# ---------------------------------------------------------------------------- product basis: S(A; W, g)


def symmetric_product(A: Tensor, W: Tensor, species: Tensor | None, paths: ProductPaths) -> Tensor:
    """Same as :func:`multiace.ops.reference.symmetric_product`."""
    text = encode_products(paths)
    return PRODUCT((A, W, A.new_empty(A.shape[0], 0, 0)), (species, W.shape[0], text), 2)


@cache
def encode_products(paths: ProductPaths) -> str:
    """Write the irreps of both sides and ν as text."""
    return f"{' '.join(map(str, paths.irreps_in))}|{' '.join(map(str, paths.targets))}|{paths.correlation}"


class _Products(NamedTuple):
    """What the kernels need of a :class:`ProductPaths`."""

    correlation: int
    sizes: tuple[int, int, int, int]  # components of A and m, entries, paths
    table: list[int]  # what follows n_nodes ... threads in the kernels' table: first, then addresses
    arrays: list[np.ndarray]  # what the addresses point to


@cache
def _products(text: str) -> _Products:
    irreps, targets, correlation = text.split("|")
    paths = ProductPaths(
        tuple(map(Irrep.parse, irreps.split())), tuple(map(Irrep.parse, targets.split())), int(correlation)
    )
    factors, monomial, component, entry, path, values = paths.polynomial
    degrees = (factors >= 0).sum(axis=1)
    first = np.searchsorted(degrees, np.arange(1, paths.correlation + 2))
    entries = np.searchsorted(monomial, np.arange(len(factors) + 1)).astype(np.int32)
    terms = np.searchsorted(entry, np.arange(len(monomial) + 1)).astype(np.int32)
    arrays = [np.ascontiguousarray(array) for array in (factors, entries, component, terms, path, values)]
    n_in, n_out = (sum(irrep.dim for irrep in irreps) for irreps in (paths.irreps_in, paths.targets))
    return _Products(
        paths.correlation,
        (n_in, n_out, len(component), sum(paths.n_paths.values())),
        [*first.tolist(), *(array.ctypes.data for array in arrays)],
        arrays,
    )


def _product_shape(arguments: Sequence[Tensor], constants: Sequence[Any], wrt: int) -> Sequence[int]:
    _, n_matrices, text = constants
    n_nodes, _, channels = arguments[0].shape
    components_in, components_out, _, n_paths = _products(text).sizes
    if wrt == 1:
        return n_matrices, n_paths, channels
    return n_nodes, components_out if wrt == 2 else components_in, channels


@cache
def _product_kernel(dtype: torch.dtype, correlation: int, directions: int, name: str) -> Callable[..., None]:
    source = files("multiace.ops").joinpath("polynomial.c").read_text(encoding="utf-8")
    constants = f"#define ORDER {correlation}\n#define DIRECTIONS {directions}"
    library = compile_c(f"typedef {REALS[dtype]} real;\n{constants}\n{source}")
    function = getattr(library, f"derivative_{name}")
    function.argtypes = [ctypes.c_void_p] * (6 if name == "A" else 5)
    function.restype = None
    return function


def _run_product(arguments: Sequence[Tensor], constants: Sequence[Any], wrt: int) -> None:
    species, n_matrices, text = constants
    products, (A, W, g, *directions) = _products(text), arguments
    given = [A, *(u for number, u in enumerate(directions, start=3) if number != wrt)]
    numbers = (ctypes.c_void_p * len(given))(*(u.data_ptr() for u in given))
    values = (A.shape[0], n_matrices, A.shape[2], *products.sizes, torch.get_num_threads(), *products.table)
    table = (ctypes.c_int64 * len(values))(*values)
    tensors = (W, g) if wrt < 3 else (W, g, arguments[wrt])
    _product_kernel(A.dtype, products.correlation, len(given) - 1, "AWg"[wrt] if wrt < 3 else "A")(
        ctypes.addressof(numbers),
        *(tensor.data_ptr() for tensor in tensors),
        None if species is None else species.contiguous().data_ptr(),
        ctypes.addressof(table),
    )


PRODUCT = MultilinearForm(
    "product_derivative",
    "Tensor? species, int n_matrices, str products",
    _product_shape,
    _run_product,
    polynomial=True,
)
