"""What the operations of multiace must compute and move, and what the machine can do.

Operations are counted from their tables, once for each term of a derivative:

- convolution, per edge and path: the coupling with Y takes one multiplication and addition for each coefficient
  that is not zero; per channel, one for each of its entries (M, m1) that can be non-zero, and one for each M;
- linear: one for each weight, component and atom;
- product, per atom and channel: a multiplication for each monomial, and one with an addition for each of its
  coefficients; the gradient of A goes back through the monomials, which takes four more;
- mlp, the hidden layers of perceptrons, per row: one for each weight, backwards two more; the last layer is linear.

A derivative along directions computes with dual numbers, whose products are several of plain ones.

Bytes are those of arguments and results, each once. An update of the weights is clipping, Adam and the moving average.

The floor of an operation is what its bytes take at the bandwidth of a copy, or its FLOP at the share of the peak that
good kernels attain, whichever is longer.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import chain, pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from multiace.basis.coupling import clebsch_gordan
from multiace.basis.irreps import Irrep, Irreps
from multiace.ops import cpu
from multiace.ops.compiler import compile_c
from multiace.ops.forms import Form
from multiace.ops.paths import ProductPaths, linear_blocks

__all__ = ["UPDATE_PASSES", "bandwidth", "floor", "fma_peak", "matrix_products", "watched"]

FORMS = {name.lower(): form for name, form in vars(cpu).items() if isinstance(form, Form)}
ARGUMENTS = {"convolution": "hYRA", "linear": "xWy", "product": "AWm", "mlp": "xWh"}
"""The last one is the value of the operation; to the others belong gradients."""
ATTAINABLE = {"convolution": 0.5, "product": 0.5, "linear": 0.8, "mlp": 0.8, "matrix products": 0.8}
"""Share of the peak in the floor of an operation, by the beginning of its name."""
UPDATE_PASSES = 13  # over all weights: norm 1, clipping 2, Adam 7, moving average 3

FMA = """
#include <omp.h>
#ifdef __AVX512F__
#define BYTES 64
#else
#define BYTES 32
#endif
typedef float vector __attribute__((vector_size(BYTES)));

/* 2 x CHAINS x BYTES / 4 FLOP a turn of each thread: enough independent chains to hide the latency. */
#define CHAINS 12
int fma_loop(long turns, int threads, float *sink) {
#pragma omp parallel num_threads(threads)
  {
    vector a[CHAINS], factor = {0}, summand = {0};
    factor += 0.999f, summand += 0.001f;
    for (int k = 0; k < CHAINS; ++k) a[k] = summand + (float)k;
    for (long n = 0; n < turns; ++n)
#pragma GCC unroll 12
      for (int k = 0; k < CHAINS; ++k) a[k] = a[k] * factor + summand;
    for (int k = 1; k < CHAINS; ++k) a[0] += a[k];
#pragma omp critical
    *sink += a[0][0];
  }
  return 2 * CHAINS * BYTES / 4;
}
"""
Totals = dict[str, dict[str, float]]


@cache
def convolution_flop(text: str) -> tuple[float, float]:
    """Per edge: of the coupling, and of all channels."""
    paths = cpu.decode_paths(text)
    coupling = channels = 0.0
    for group in paths.groups:
        for l2 in group.l2s:
            C = clebsch_gordan(group.irrep_in.l, l2, group.irrep_out.l) != 0  # [m1, m2, M]
            coupling += 2.0 * C.sum()
            channels += 2.0 * group.mul * (C.any(axis=1).sum() + group.irrep_out.dim)
    return coupling, channels


def convolution(term: Sequence[Any], constants: Sequence[Any], slot: int) -> float:
    """FLOP of one term."""
    return len(constants[0]) * sum(convolution_flop(constants[-1]))


def linear(term: Sequence[Any], constants: Sequence[Any], slot: int) -> float:
    """FLOP of one term."""
    nodes = next(len(term[place]) for place in (0, 2) if term[place] is not None)
    irreps_in, irreps_out, *_ = constants[-1].split("|")
    blocks = linear_blocks(Irreps.parse(irreps_in), Irreps.parse(irreps_out))
    return 2.0 * nodes * sum(block.irrep.dim * block.mul_in * block.mul_out for block in blocks)


@cache
def product_flop(text: str) -> tuple[float, float]:
    """Per atom and channel: of the monomials, and of the sums over them."""
    irreps, targets, correlation = text.split("|")
    sides = (tuple(map(Irrep.parse, side.split())) for side in (irreps, targets))
    factors, monomial, *_ = ProductPaths(*sides, int(correlation)).polynomial
    return float(np.count_nonzero(factors[:, 1:2] >= 0)), 2.0 * len(monomial)


def product(term: Sequence[Any], constants: Sequence[Any], slot: int) -> float:
    """FLOP of one term."""
    nodes, _, channels = term[0].shape
    monomials, coefficients = product_flop(constants[-1])
    monomials *= 3.0 ** (len(term) - 3)  # products of dual numbers
    return nodes * channels * (monomials * (5.0 if slot == 0 else 1.0) + coefficients)


def mlp(term: Sequence[Any], constants: Sequence[Any], slot: int) -> float:
    """FLOP of one term: matrix products of all components of dual numbers, of which W may have some."""
    _, _, _, *directions = term
    x_moves, W_moves = ([direction[place] is not None for direction in directions] for place in (0, 1))
    n_x, n_W, n = sum(x_moves), sum(W_moves), 2.0 ** len(directions)
    inner, outer = n + n_W * n / 2.0, 1.0 + n_W  # products of all components, of the last one alone
    lowest = (1.0 + n_x) * (1.0 + n_W) - sum(map(min, x_moves, W_moves))
    first, *more = (n_in * n_out for n_in, n_out in pairwise(constants[-1][:-1]))
    through = inner * sum(more)  # forwards, and the same again backwards
    products = {
        0: lowest * first + 2.0 * through + outer * first,
        1: lowest * first + 2.0 * through + (1.0 + n_x) * first + n * sum(more),
        2: lowest * first + through,
    }
    return 2.0 * next(len(term[place]) for place in (0, 2) if term[place] is not None) * products[slot]


def floor(operation: dict[str, Any], peak: float, bandwidth: float) -> float:
    """Seconds that an operation takes at least, zero where its FLOP and bytes are not counted."""
    share = next((a for name, a in ATTAINABLE.items() if operation["operation"].startswith(name)), 1.0)
    return max(operation.get("flop", 0.0) / (share * peak), operation.get("bytes", 0.0) / bandwidth)


FLOP: dict[str, Callable[[Sequence[Any], Sequence[Any], int], float]] = {
    "convolution": convolution,
    "linear": linear,
    "product": product,
    "mlp": mlp,
}


@contextmanager
def watched() -> Iterator[Totals]:
    """Let the forms add up calls, seconds, FLOP and bytes of each of their derivatives, by name."""
    totals: Totals = {}
    runs = {name: form.run for name, form in FORMS.items()}

    def watch(name: str) -> Callable[..., None]:
        def run(given: list[Any], constants: Sequence[Any], slot: int, result: Tensor) -> None:
            terms = given if FORMS[name].sums else [given]
            flop = sum(FLOP[name](term, constants, slot) for term in terms) if name in FLOP else 0.0
            places = chain(*terms, constants, [result])
            flat = chain(*(place if isinstance(place, (tuple, list)) else [place] for place in places))
            tensors = {id(a): a for a in flat if isinstance(a, Tensor)}
            started = time.perf_counter()
            runs[name](given, constants, slot, result)
            seconds = time.perf_counter() - started
            arguments = ARGUMENTS.get(name, "")
            last = FORMS[name].number - 1
            label = name if slot == last else f"{name}, d/d{arguments[slot : slot + 1] or slot}"
            add(totals, label, seconds, flop, sum(tensor.nbytes for tensor in tensors.values()))

        return run

    try:
        for name, form in FORMS.items():
            form.run = watch(name)
        yield totals
    finally:
        for name, form in FORMS.items():
            form.run = runs[name]


def matrix_products(action: Callable[[], None]) -> Totals:
    """Return the same of PyTorch's matrix products."""
    totals: Totals = {}
    with torch.profiler.profile(record_shapes=True, with_flops=True) as profile:
        action()
    for event in profile.events():
        if event.name in ("aten::mm", "aten::addmm", "aten::bmm") and event.flops:
            *_, (*batch, n, k), (*_, m) = (shape for shape in event.input_shapes if len(shape) > 1)
            bytes_moved = 4.0 * np.prod(batch, initial=1.0) * (n * k + k * m + n * m)
            add(
                totals,
                "matrix products (radial networks, ...)",
                1e-6 * event.cpu_time,
                event.flops,
                bytes_moved,
            )
    return totals


def add(totals: Totals, label: str, seconds: float, flop: float, moved: float) -> None:
    """Count one call."""
    sums = totals.setdefault(label, {"calls": 0, "seconds": 0.0, "flop": 0.0, "bytes": 0.0})
    for key, value in zip(sums, (1, seconds, flop, moved), strict=True):
        sums[key] += value


def fma_peak(threads: int) -> float:
    """Measure multiplications and additions in float32 [FLOP/s]: the best of ten short loops."""
    loop = compile_c(FMA).fma_loop
    loop.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p]
    sink, turns, best = ctypes.c_float(), 2_000_000, 0.0
    for _ in range(10):
        started = time.perf_counter()
        flop = threads * turns * loop(turns, threads, ctypes.byref(sink))
        best = max(best, flop / (time.perf_counter() - started))
    return best


def bandwidth() -> float:
    """Measure a copy of 128 MiB [bytes/s], read and written: the best of ten."""
    source = torch.ones(32 * 2**20)
    target, best = torch.empty_like(source), 0.0
    for _ in range(10):
        started = time.perf_counter()
        target.copy_(source)
        best = max(best, 2 * source.nbytes / (time.perf_counter() - started))
    return best
