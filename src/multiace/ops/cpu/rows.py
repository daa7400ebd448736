"""Rows of linear ACE; not differentiable."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import torch

from multiace.ops.compiler import compile_c
from multiace.ops.cpu.kernel import kernel, source_of
from multiace.ops.rows import AROUND, Functions, Surroundings

__all__ = ["add_rows"]

ROW = 8  # whose multiple a row of rows.c is long


@cache
def _rows_kernel(order: int) -> Callable[..., None]:
    return kernel(compile_c(source_of(torch.float64, "matrix.h", "rows.c", ORDER=order)), "add_rows")


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
