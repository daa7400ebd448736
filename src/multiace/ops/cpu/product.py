"""The product basis: S(A; W, g)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from multiace.basis.irreps import Irrep
from multiace.ops import gpu_product, reference
from multiace.ops.compiler import compile_c
from multiace.ops.cpu.kernel import address, addresses, as_text, kernel, rows_of, source_of
from multiace.ops.forms import Call, Form, Term
from multiace.ops.paths import ProductPaths

__all__ = ["PRODUCT", "decode_products", "encode_products", "symmetric_product"]

LARGEST_CORRELATION = 4  # of polynomial.c


def symmetric_product(A: Tensor, W: Tensor, species: Tensor | None, paths: ProductPaths) -> Tensor:
    """Same as :func:`multiace.ops.reference.symmetric_product`."""
    if paths.correlation > LARGEST_CORRELATION:
        return reference.symmetric_product(A, W, species, paths)
    return PRODUCT((A, W), (species, W.shape[0], A.shape[2], encode_products(paths)))


@as_text
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
def decode_products(text: str) -> ProductPaths:
    """Read what :func:`encode_products` wrote."""
    irreps, targets, correlation = text.split("|")
    return ProductPaths(
        tuple(map(Irrep.parse, irreps.split())), tuple(map(Irrep.parse, targets.split())), int(correlation)
    )


@cache
def _products(text: str) -> _Products:
    paths = decode_products(text)
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


def _product_shape(a: Sequence[Tensor | None], constants: Sequence[Any], slot: int) -> Sequence[int]:
    _, n_matrices, channels, text = constants
    components_in, components_out, _, n_paths = _products(text).sizes
    if slot == 1:
        return n_matrices, n_paths, channels
    return rows_of(a[0], a[2]), components_in if slot == 0 else components_out, channels


@cache
def _product_kernel(dtype: torch.dtype, correlation: int, directions: int, slot: int) -> Callable[..., None]:
    library = compile_c(
        source_of(dtype, "matrix.h", "polynomial.c", ORDER=correlation, DIRECTIONS=directions)
    )
    return kernel(library, f"derivative_{'AWg'[slot]}")


def _call_product(term: Term, constants: Sequence[Any], slot: int, result: Tensor) -> Call:
    A, W, g, *directions = term
    species, n_matrices, channels, text = constants
    products = _products(text)
    return _product_kernel(A.dtype, products.correlation, len(directions), slot), [
        *addresses(A, directions),
        *(address(W), address(g), result.data_ptr(), address(species)),
        *(A.shape[0], n_matrices, channels, *products.sizes, torch.get_num_threads(), *products.table),
    ]


def _product_on_gpu(term: Term, constants: Sequence[Any], slot: int, result: Tensor) -> None:
    species, *_, text = constants
    gpu_product.run_product(term, species, decode_products(text), slot, result)


PRODUCT = Form(
    "product",
    3,
    "Tensor? species, int n_matrices, int channels, str products",
    _product_shape,
    _call_product,
    nonlinear=1,
    on_gpu=_product_on_gpu,
)
