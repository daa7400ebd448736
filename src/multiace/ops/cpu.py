"""The expensive operations as forms with kernels: compiled C on a CPU, the convolution and the product basis
also Triton on a GPU."""

from __future__ import annotations

import ctypes
import math
import struct
from collections.abc import Callable, Sequence
from functools import cache
from importlib.resources import files
from itertools import pairwise
from typing import Any, NamedTuple, ParamSpec, cast

import numpy as np
import torch
from torch import Tensor

from multiace.basis.angular import SphericalHarmonics
from multiace.basis.irreps import Irrep, Irreps
from multiace.basis.radial import SHORTEST
from multiace.ops import gpu, gpu_product, reference
from multiace.ops.codegen import convolution_source
from multiace.ops.compiler import compile_c
from multiace.ops.forms import Call, Form, Term
from multiace.ops.paths import ConvolutionPaths, ProductBlocks, ProductPaths, gate_irreps, linear_blocks
from multiace.ops.recursion import Monomials
from multiace.ops.reference import Activation
from multiace.ops.rows import AROUND, Functions, Surroundings

__all__ = [
    "add_rows",
    "bessel",
    "check_compiler",
    "convolution",
    "density",
    "finnis_sinclair",
    "gate",
    "interpolate",
    "linear",
    "mlp",
    "piecewise",
    "polynomial",
    "spherical_harmonics",
    "symmetric_product",
]

P = ParamSpec("P")

LARGEST_CORRELATION = 4  # of polynomial.c
ROW = 8  # whose multiple a row of rows.c is long
LEAST_SHARED = 1 << 14  # values of a sum that several threads share
REALS = {torch.float32: "float", torch.float64: "double"}


def check_compiler() -> None:
    """Compile and load one of the kernels.

    Raises:
        CompilerError: If that is not possible.
    """
    _gate_kernel(torch.float32, "gelu", "tanh", 0, 1)


def _source(dtype: torch.dtype, *names: str, **macros: object) -> str:
    """C source of files of this folder, one after another, for a type of real."""
    macros = {"REAL_BYTES": dtype.itemsize, **macros}
    lines = [f"typedef {REALS[dtype]} real;", *(f"#define {name} {value}" for name, value in macros.items())]
    texts = [files("multiace.ops").joinpath(name).read_text(encoding="utf-8") for name in names]
    return "\n".join([*lines, *texts])


def _smooth_source(name: str, dtype: torch.dtype, directions: int, **macros: str) -> str:
    """Source of a kernel of numbers with nilpotent parts."""
    return _source(dtype, "matrix.h", "nilpotent.h", name, DIRECTIONS=directions, **macros)


def _text(function: Callable[P, str]) -> Callable[P, str]:
    """Remember the text of a table; for ``torch.compile`` it is a constant.

    The mark is that of ``torch.compiler.assume_constant_result``, whose call would import all of the compiler.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return cast("Callable[P, str]", cache(function))


# ---------------------------------------------------------------------------- convolution: S(x, Y, R, g)


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


@_text
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
        n_rows = _n_rows(a[0], a[3])
    return n_rows, _convolution_widths(text)[slot]


@cache
def _convolution_widths(text: str) -> tuple[int, int, int, int]:
    """Values in a row of x, Y, R and g."""
    paths = decode_paths(text)
    return paths.irreps_in.dim, (paths.l_max + 1) ** 2, paths.n_weights, paths.irreps_out.dim


@cache
def _convolution_kernel(text: str, dtype: torch.dtype, slot: int) -> Callable[..., None]:
    library = compile_c(convolution_source(decode_paths(text), REALS[dtype]))
    return _function(library, f"derivative_{'xYRg'[slot]}")


def _call_convolution(terms: list[Term], constants: Sequence[Any], slot: int, result: Tensor) -> Call:
    senders, receivers, rows, row_of_edge, *_, text = constants
    n_nodes, n_edges = terms[0][0 if slot else 3].shape[0], senders.shape[0]
    n_rows = n_edges if rows is None else rows.shape[0]
    return _convolution_kernel(text, result.dtype, slot), [
        *map(_address, (senders, receivers, row_of_edge, rows)),
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


def _n_rows(*tensors: Tensor | None) -> int:
    """Number of rows of the first tensor that there is."""
    return next(tensor.shape[0] for tensor in tensors if tensor is not None)


def _address(tensor: Tensor | None) -> int:
    """Where the numbers of a contiguous tensor lie."""
    return 0 if tensor is None else tensor.data_ptr()


def _array(numbers: Sequence[int]) -> ctypes.Array:
    """Integers of eight bytes, as an array of C."""
    return (ctypes.c_int64 * len(numbers))(*numbers)


def _directions(base: Tensor, directions: Sequence[Sequence[Tensor | None]], place: int = 0) -> list[int]:
    """Addresses of a nonlinear argument and of its part of each direction."""
    return [base.data_ptr(), *(_address(direction[place]) for direction in directions)]


@cache
def _bits(number: float) -> int:
    """A double as a word."""
    return int.from_bytes(struct.pack("<d", number), "little", signed=True)


def _function(library: ctypes.CDLL, name: str) -> Callable[..., None]:
    function = getattr(library, name)
    function.argtypes = [ctypes.c_void_p]
    function.restype = None
    return function


# ---------------------------------------------------------------------------- columns: S(x, y), and sums


@cache
def _move_kernel(dtype: torch.dtype, name: str) -> Callable[..., None]:
    return _function(compile_c(_source(dtype, "matrix.h", "move.c", SHARED=LEAST_SHARED)), name)


def _move_shape(a: Sequence[Tensor | None], constants: Sequence[Any], slot: int) -> Sequence[int]:
    return _n_rows(*a), constants[1 + slot]


def _call_move(term: Term, constants: Sequence[Any], slot: int, result: Tensor) -> Call:
    width, x_dim, y_dim, x_start, y_start, scale = constants
    x, y, *_ = term
    there = (x, result, x.shape[0], width, x_dim, y_dim, x_start, y_start) if slot else ()
    source, target, *sizes = there or (y, result, y.shape[0], width, y_dim, x_dim, y_start, x_start)
    words = [source.data_ptr(), target.data_ptr(), *sizes, torch.get_num_threads(), _bits(scale)]
    return _move_kernel(result.dtype, "move"), words


MOVE = Form(
    "move",
    2,
    "int width, int x_dim, int y_dim, int x_start, int y_start, float scale",
    _move_shape,
    _call_move,
)


def call_add(parts: Sequence[Tensor], result: Tensor) -> Call:
    """The sum of two or more contiguous tensors of equal shape."""
    width = math.prod(result.shape[1:])
    sizes = (result.shape[0], width, len(parts), torch.get_num_threads())
    return _move_kernel(result.dtype, "add"), [
        result.data_ptr(),
        *sizes,
        *(part.data_ptr() for part in parts),
    ]


# ---------------------------------------------------------------------------- linear maps: S(x, W, y)


def linear(x: Tensor, W: Tensor, species: Tensor | None, irreps_in: Irreps, irreps_out: Irreps) -> Tensor:
    """Same as :func:`multiace.ops.reference.linear`."""
    return LINEAR((x, W), (species, W.shape[0], encode_irreps(irreps_in, irreps_out)))


@_text
def encode_irreps(irreps_in: Irreps, irreps_out: Irreps, start: int = 0, fan_in: int = 0) -> str:
    """Write the irreps of both sides as text, where the weights begin in a row of W, and K (0: the channels of x)."""
    return f"{irreps_in}|{irreps_out}|{start}|{fan_in}"


@cache
def _blocks(text: str) -> tuple[int, int, int, int, Any]:
    """Number of blocks, values in a row of x, y and W, and the C array of blocks."""
    *sides, start, fan_in = text.split("|")
    irreps_in, irreps_out = map(Irreps.parse, sides)
    blocks = linear_blocks(irreps_in, irreps_out)
    numbers = []
    for b in blocks:
        numbers += [b.irrep.dim, b.mul_in, b.mul_out, b.x.start, b.y.start]
        numbers += [int(start) + b.weights.start, int(fan_in) or b.mul_in]
    n_weights = int(start) + (blocks[-1].weights.stop if blocks else 0)
    return len(blocks), irreps_in.dim, irreps_out.dim, n_weights, _array(numbers)


def _linear_shape(a: Sequence[Tensor | None], constants: Sequence[Any], slot: int) -> Sequence[int]:
    _, n_matrices, text = constants
    _, x_dim, y_dim, n_weights, _ = _blocks(text)
    if slot == 1:
        return n_matrices, n_weights
    return _n_rows(a[0], a[2]), x_dim if slot == 0 else y_dim


@cache
def _linear_kernel(dtype: torch.dtype, slot: int) -> Callable[..., None]:
    return _function(compile_c(_source(dtype, "matrix.h", "linear.c")), f"derivative_{'xWy'[slot]}")


def _call_linear(terms: list[Term], constants: Sequence[Any], slot: int, result: Tensor) -> Call:
    species, n_matrices, text = constants
    *dims, blocks = _blocks(text)
    n_nodes = _n_rows(terms[0][0] if slot else None, terms[0][2])
    return _linear_kernel(result.dtype, slot), [
        *(_address(species), ctypes.addressof(blocks)),
        *(n_nodes, n_matrices, *dims, len(terms), torch.get_num_threads()),
        result.data_ptr(),
        *(0 if b == slot else argument.data_ptr() for term in terms for b, argument in enumerate(term)),
    ]


LINEAR = Form(
    "linear", 3, "Tensor? species, int n_matrices, str irreps", _linear_shape, _call_linear, sums=True
)


# ---------------------------------------------------------------------------- product basis: S(A; W, g)


def symmetric_product(A: Tensor, W: Tensor, species: Tensor | None, paths: ProductPaths) -> Tensor:
    """Same as :func:`multiace.ops.reference.symmetric_product`."""
    if paths.correlation > LARGEST_CORRELATION:
        return reference.symmetric_product(A, W, species, paths)
    return PRODUCT((A, W), (species, W.shape[0], A.shape[2], encode_products(paths)))


@_text
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
    return _n_rows(a[0], a[2]), components_in if slot == 0 else components_out, channels


@cache
def _product_kernel(dtype: torch.dtype, correlation: int, directions: int, slot: int) -> Callable[..., None]:
    library = compile_c(_source(dtype, "matrix.h", "polynomial.c", ORDER=correlation, DIRECTIONS=directions))
    return _function(library, f"derivative_{'AWg'[slot]}")


def _call_product(term: Term, constants: Sequence[Any], slot: int, result: Tensor) -> Call:
    A, W, g, *directions = term
    species, n_matrices, channels, text = constants
    products = _products(text)
    return _product_kernel(A.dtype, products.correlation, len(directions), slot), [
        *_directions(A, directions),
        *(_address(W), _address(g), result.data_ptr(), _address(species)),
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


# ---------------------------------------------------------------------------- perceptrons: S(x, W, g)

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


def mlp(x: Tensor, W: Tensor, sizes: Sequence[int], fan_in: int, activation: Activation) -> Tensor:
    """Same as :func:`multiace.ops.reference.mlp`."""
    if activation.name not in ACTIVATIONS:
        return reference.mlp(x, W, sizes, fan_in, activation)
    *widths, n_out = sizes
    n_in, start = widths[-1], sum(n * m for n, m in pairwise(widths))
    if len(widths) > 1:
        x = MLP((x, W), (activation.scale.to(x.dtype), activation.name, fan_in, list(sizes)))
        fan_in = n_in
    return LINEAR((x, W), (None, 1, encode_layer(n_in, n_out, start, fan_in)))


@_text
def encode_layer(n_in: int, n_out: int, start: int, fan_in: int) -> str:
    """Write a matrix as text, as :func:`encode_irreps` does."""
    x, y = (Irreps([(n, Irrep(0, 1))]) for n in (n_in, n_out))
    return encode_irreps(x, y, start, fan_in)


def _mlp_shape(a: Sequence[Tensor | None], constants: Sequence[Any], slot: int) -> Sequence[int]:
    sizes = constants[-1]
    if slot == 1:
        return 1, sum(n * m for n, m in pairwise(sizes))
    return _n_rows(a[0], a[2]), sizes[0] if slot == 0 else sizes[-2]


@cache
def _mlp_kernel(dtype: torch.dtype, activation: str, directions: int, slot: int) -> Callable[..., None]:
    source = _smooth_source("mlp.c", dtype, directions, ACTIVATION=ACTIVATIONS[activation])
    return _function(compile_c(source), f"derivative_{'xWg'[slot]}")


def _call_mlp(term: Term, constants: Sequence[Any], slot: int, result: Tensor) -> Call:
    x, W, g, *directions = term
    scale, activation, fan_in, sizes = constants
    return _mlp_kernel(x.dtype, activation, len(directions), slot), [
        *_directions(x, directions),
        *_directions(W, directions, 1),
        *(_address(g), result.data_ptr(), scale.data_ptr()),
        *(x.shape[0], len(sizes) - 2, W.shape[1], fan_in, torch.get_num_threads(), *sizes[:-1]),
    ]


MLP = Form(
    "mlp", 3, "Tensor scale, str activation, int fan_in, int[] sizes", _mlp_shape, _call_mlp, nonlinear=2
)


# ---------------------------------------------------------------------------- monomials: S(A; W, g)


def polynomial(A: Tensor, W: Tensor, species: Tensor | None, monomials: Monomials) -> Tensor:
    """Same as :func:`multiace.ops.reference.polynomial`."""
    _, *tables = monomials
    return MONOMIALS((A, W), (species, A.shape[1], W.shape[0], W.shape[1], W.shape[2], *tables))


def _monomials_shape(a: Sequence[Tensor | None], constants: Sequence[Any], slot: int) -> Sequence[int]:
    n_components, *sizes = constants[1:5]
    if slot == 1:
        return sizes
    return _n_rows(a[0], a[2]), n_components if slot == 0 else sizes[-1]


@cache
def _monomials_kernel(dtype: torch.dtype, directions: int, slot: int) -> Callable[..., None]:
    return _function(compile_c(_smooth_source("monomials.c", dtype, directions)), f"derivative_{'AWg'[slot]}")


def _call_monomials(term: Term, constants: Sequence[Any], slot: int, result: Tensor) -> Call:
    A, W, g, *directions = term
    species, n_components, n_matrices, _, channels, *tables = constants
    return _monomials_kernel(A.dtype, len(directions), slot), [
        *_directions(A, directions),
        *(_address(W), _address(g), result.data_ptr(), _address(species)),
        *(A.shape[0], n_matrices, channels, n_components, tables[1].shape[0]),
        *(torch.get_num_threads(), *map(_address, tables)),
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


# ---------------------------------------------------------------------------- gates: S(x, g)


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
    return len(irreps_out), irreps_in.dim, irreps_out.dim, _array(numbers)


def _gate_shape(a: Sequence[Tensor | None], constants: Sequence[Any], slot: int) -> Sequence[int]:
    _, x_dim, y_dim, _ = _gate_blocks(constants[-1])
    return _n_rows(*a), x_dim if slot == 0 else y_dim


@cache
def _gate_kernel(
    dtype: torch.dtype, activation: str, odd: str, directions: int, slot: int
) -> Callable[..., None]:
    macros = {"ACTIVATION": ACTIVATIONS[activation], "ODD_ACTIVATION": ACTIVATIONS[odd]}
    source = _smooth_source("gate.c", dtype, directions, **macros)
    return _function(compile_c(source), f"derivative_{'xg'[slot]}")


def _call_gate(term: Term, constants: Sequence[Any], slot: int, result: Tensor) -> Call:
    x, g, *directions = term
    scale, odd_scale, activation, odd, text = constants
    *dims, blocks = _gate_blocks(text)
    return _gate_kernel(x.dtype, activation, odd, len(directions), slot), [
        *_directions(x, directions),
        *(_address(g), result.data_ptr(), scale.data_ptr(), odd_scale.data_ptr()),
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


# ---------------------------------------------------------------------------- embeddings: S(x, g)


def finnis_sinclair(x: Tensor, exponents: Sequence[float]) -> Tensor:
    """Same as :func:`multiace.ops.reference.finnis_sinclair`."""
    return FINNIS_SINCLAIR((x,), (list(exponents),))


def _finnis_sinclair_shape(a: Sequence[Tensor | None], constants: Sequence[Any], slot: int) -> Sequence[int]:
    return _n_rows(*a), len(constants[0])


@cache
def _finnis_sinclair_kernel(dtype: torch.dtype, directions: int, slot: int) -> Callable[..., None]:
    source = _smooth_source("finnis_sinclair.c", dtype, directions)
    return _function(compile_c(source), f"derivative_{'xg'[slot]}")


def _call_finnis_sinclair(term: Term, constants: Sequence[Any], slot: int, result: Tensor) -> Call:
    x, g, *directions = term
    (exponents,) = constants
    return _finnis_sinclair_kernel(x.dtype, len(directions), slot), [
        *_directions(x, directions),
        *(_address(g), result.data_ptr()),
        *(x.shape[0], len(exponents), torch.get_num_threads(), *map(_bits, exponents)),
    ]


FINNIS_SINCLAIR = Form(
    "finnis_sinclair", 2, "float[] exponents", _finnis_sinclair_shape, _call_finnis_sinclair, nonlinear=1
)


# ---------------------------------------------------------------------------- spherical harmonics: S(v, g)


def spherical_harmonics(vectors: Tensor, l_max: int) -> Tensor:
    """Same as :class:`multiace.basis.angular.SphericalHarmonics`."""
    return HARMONICS((vectors,), (l_max,))


@cache
def _harmonics(l_max: int) -> tuple[list[int], list[np.ndarray]]:
    """Number of monomials, of Y, and what the addresses of the kernels' table point to."""
    module = SphericalHarmonics(l_max)
    parents, axes, before = [0], [0], 0
    for degree in range(l_max):
        parent, axis = module.get_buffer(f"origins_{degree}").tolist()
        parents += [before + index for index in parent]
        axes += axis
        before += (degree + 1) * (degree + 2) // 2
    Y, monomial = module.matrix.numpy().T.nonzero()
    begin = np.searchsorted(Y, np.arange((l_max + 1) ** 2 + 1))
    arrays = [np.array(values, dtype=np.int64) for values in (parents, axes, begin, monomial)]
    return [len(parents), (l_max + 1) ** 2], [*arrays, module.matrix.numpy()[monomial, Y]]


def _harmonics_shape(a: Sequence[Tensor | None], constants: Sequence[Any], slot: int) -> Sequence[int]:
    return _n_rows(*a), 3 if slot == 0 else (constants[0] + 1) ** 2


@cache
def _harmonics_kernel(dtype: torch.dtype, directions: int, slot: int) -> Callable[..., None]:
    return _function(compile_c(_smooth_source("angular.c", dtype, directions)), f"derivative_{'vg'[slot]}")


def _call_harmonics(term: Term, constants: Sequence[Any], slot: int, result: Tensor) -> Call:
    v, g, *directions = term
    sizes, arrays = _harmonics(constants[0])
    return _harmonics_kernel(v.dtype, len(directions), slot), [
        *_directions(v, directions),
        *(_address(g), result.data_ptr()),
        *(v.shape[0], *sizes, torch.get_num_threads(), *(array.ctypes.data for array in arrays)),
    ]


HARMONICS = Form("harmonics", 2, "int l_max", _harmonics_shape, _call_harmonics, nonlinear=1)


# ---------------------------------------------------------------------------- radial basis: S(r, g)


def bessel(lengths: Tensor, num_radial: int, cutoff: float, power: int) -> Tensor:
    """Same as :class:`multiace.basis.radial.BesselBasis` times :func:`multiace.basis.radial.polynomial_envelope`."""
    return BESSEL((lengths,), (num_radial, cutoff, power))


def _bessel_shape(a: Sequence[Tensor | None], constants: Sequence[Any], slot: int) -> Sequence[int]:
    n_pairs = _n_rows(*a)
    return (n_pairs,) if slot == 0 else (n_pairs, constants[0])


@cache
def _bessel_kernel(dtype: torch.dtype, directions: int, slot: int) -> Callable[..., None]:
    return _function(compile_c(_smooth_source("radial.c", dtype, directions)), f"derivative_{'rg'[slot]}")


def _call_bessel(term: Term, constants: Sequence[Any], slot: int, result: Tensor) -> Call:
    r, g, *directions = term
    num_radial, cutoff, power = constants
    return _bessel_kernel(r.dtype, len(directions), slot), [
        *_directions(r, directions),
        *(_address(g), result.data_ptr()),
        *(r.shape[0], num_radial, power, torch.get_num_threads(), _bits(cutoff), _bits(SHORTEST * cutoff)),
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
    n_pairs = _n_rows(a[0], a[2])
    return (n_pairs,) if slot == 0 else (n_pairs, n_weights)


@cache
def _table_kernel(dtype: torch.dtype, directions: int, slot: int) -> Callable[..., None]:
    return _function(compile_c(_smooth_source("table.c", dtype, directions)), f"derivative_{'rtg'[slot]}")


def _call_table(term: Term, constants: Sequence[Any], slot: int, result: Tensor) -> Call:
    r, table, g, *directions = term
    code, spacing, *sizes = constants
    return _table_kernel(r.dtype, len(directions), slot), [
        *_directions(r, directions),
        *(_address(table), _address(g), result.data_ptr()),
        *(r.shape[0], *sizes, torch.get_num_threads(), _address(code), _bits(spacing)),
    ]


TABLE = Form(
    "table",
    3,
    "Tensor? code, float spacing, int n_tables, int n_knots, int n_weights",
    _table_shape,
    _call_table,
    nonlinear=1,
)


# ---------------------------------------------------------------------------- density: S(h, Y, R, g)


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
    """Same as :func:`multiace.ops.reference.density`."""
    edges = (senders, *(pairs or (None, None)), *order)
    return DENSITY((h, Y, R), (*edges, h.shape[1], Y.shape[1], R.shape[1], encode_blocks(products)))


@_text
def encode_blocks(products: ProductBlocks) -> str:
    """Write blocks as text."""
    return " ".join(f"{lm},{q},{n}" for lm, q, n in products)


@cache
def _product_blocks(text: str) -> tuple[int, int, Any]:
    """Number of blocks and of products, and the C array: blocks of the same q whose lm follow one another are one."""
    joined: list[list[int]] = []  # lm, how many, q, n
    for lm, q, n in ([int(number) for number in block.split(",")] for block in text.split()):
        if joined and joined[-1][2:] == [q, n] and sum(joined[-1][:2]) == lm:
            joined[-1][1] += 1
        else:
            joined.append([lm, 1, q, n])
    n_products = sum(count * n for _, count, _, n in joined)
    return len(joined), n_products, _array([number for block in joined for number in block])


def _density_shape(a: Sequence[Tensor | None], constants: Sequence[Any], slot: int) -> Sequence[int]:
    senders, pairs, *_, n_h, n_Y, n_R, text = constants
    n_rows = senders.shape[0] if pairs is None else pairs.shape[0]
    shapes = ((_n_rows(a[0], a[3]), n_h), (senders.shape[0], n_Y), (n_rows, n_R))
    return shapes[slot] if slot < 3 else (_n_rows(a[0], a[3]), _product_blocks(text)[1] * n_h)


@cache
def _density_kernel(dtype: torch.dtype, slot: int) -> Callable[..., None]:
    return _function(compile_c(_source(dtype, "matrix.h", "density.c")), f"derivative_{'hYRg'[slot]}")


def _call_density(terms: list[Term], constants: Sequence[Any], slot: int, result: Tensor) -> Call:
    senders, pairs, pair, first, reverse, n_h, n_Y, n_R, text = constants
    n_blocks, n_products, blocks = _product_blocks(text)
    n_rows = senders.shape[0] if pairs is None else pairs.shape[0]
    return _density_kernel(result.dtype, slot), [
        *map(_address, (senders, pairs, pair, first, reverse)),
        *(ctypes.addressof(blocks), terms[0][0 if slot else 3].shape[0], senders.shape[0], n_rows),
        *(n_h, n_Y, n_R, n_blocks, n_products, torch.get_num_threads(), len(terms)),
        result.data_ptr(),
        *(0 if b == slot else argument.data_ptr() for term in terms for b, argument in enumerate(term)),
    ]


DENSITY = Form(
    "density",
    4,
    "Tensor senders, Tensor? pair_edges, Tensor? pair, Tensor first, Tensor reverse, int n_h, int n_Y, int n_R, "
    "str products",
    _density_shape,
    _call_density,
    sums=True,
)


# ---------------------------------------------------------------------------- radial functions by pieces: S(v, g)


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
    library = compile_c(_smooth_source("piecewise.c", dtype, directions, POWERS=str(powers)))
    return _function(library, f"derivative_{'vg'[slot]}")


def _call_piecewise(term: Term, constants: Sequence[Any], slot: int, result: Tensor) -> Call:
    v, g, *directions = term
    tables, species, senders, receivers, pairs, cutoff, n_species, n_intervals, powers, n_functions = (
        constants
    )
    return _piecewise_kernel(v.dtype, powers, len(directions), slot), [
        *_directions(v, directions),
        *(_address(g), tables.data_ptr(), result.data_ptr()),
        *map(_address, (pairs, senders, receivers, species)),
        *(v.shape[0], pairs.shape[0], n_species, n_intervals, n_functions, torch.get_num_threads()),
        _bits(cutoff / n_intervals),
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


# ---------------------------------------------------------------------------- rows of linear ACE, not differentiable


@cache
def _rows_kernel(order: int) -> Callable[..., None]:
    return _function(compile_c(_source(torch.float64, "matrix.h", "rows.c", ORDER=order)), "add_rows")


def add_rows(functions: Functions, atoms: Surroundings, rows: np.ndarray) -> None:
    """Same as :func:`multiace.ops.rows.add_rows`."""
    first_seen, seen, local = atoms.seen
    n_edges, n_phi, _ = atoms.slopes.shape
    real = (atoms.A, atoms.slopes, atoms.a, atoms.share, atoms.vectors)
    whole = (atoms.first, local[:n_edges], local[n_edges:], first_seen, seen, atoms.graph)
    given = [
        *(np.ascontiguousarray(array, dtype=np.float64) for array in real),
        rows,
        *(np.ascontiguousarray(array, dtype=np.int64) for array in whole),
    ]
    width = AROUND + 3 * int(np.diff(first_seen).max(initial=0))
    padded = -(width // -ROW) * ROW
    words = [
        *(array.ctypes.data for array in given),
        *(len(atoms.A), atoms.n_graphs, atoms.n_rows, padded, n_phi, atoms.a.shape[1]),
        *(*functions.columns.shape, len(functions.chunks.function) - 1, torch.get_num_threads()),
        *(array.ctypes.data for array in functions.arrays),
    ]
    _rows_kernel(functions.coefficients.factors.shape[1])(np.array(words, dtype=np.int64).ctypes.data)
