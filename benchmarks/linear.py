"""Time and memory of the linear solvers: ``python benchmarks/linear.py COLUMNS ROWS [qr|gram]``.

Rows are normal numbers, columns from 1 to 1e-4 in size, targets have noise of 0.1. Prints processor seconds as a
Markdown table, and the largest memory of the process. Set ``OMP_NUM_THREADS=1`` for one core.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from multiace.linear.solvers import SOLVERS
from multiace.linear.system import System

BLOCK = 1024


def main(n_columns: int, n_rows: int, form: str = "qr") -> None:
    """Fill a system, then fit with every solver that takes one."""
    random = np.random.default_rng(0)
    sizes, c = np.geomspace(1, 1e-4, n_columns), random.normal(size=n_columns)
    system, seconds = System(n_columns, form), 0.0
    for _ in range(n_rows // BLOCK):
        X = random.normal(size=(BLOCK, n_columns)) * sizes
        y = X @ c + 0.1 * random.normal(size=BLOCK)
        seconds += timed(lambda X=X, y=y: system.add(X, y))[1]  # type: ignore[misc]
    row(f"add {system.n_rows:,} rows of {n_columns:,} columns, form {form}", seconds)
    for name in ("least_squares", "bayesian_ridge", "truncated_svd", "ard"):
        fit, seconds = timed(lambda name=name: SOLVERS[name]().fit(system))  # type: ignore[misc]
        steps = (
            f", {fit.n_iter_} steps, {np.isfinite(fit.lambda_).sum():,} columns stay" if name == "ard" else ""
        )
        row(f"{name}: σ {fit.noise_variance_**0.5:.4f}{steps}", seconds)
    row(f"variance of {BLOCK:,} rows", timed(lambda: fit.variance(X))[1])
    print(f"\n{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return the result and the processor seconds it took."""
    start = time.process_time()
    return work(), time.process_time() - start


def row(what: str, seconds: float) -> None:
    """Print a row of the table."""
    print(f"| {what} | {seconds:.1f} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
