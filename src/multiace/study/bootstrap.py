"""The bootstrap over structures: errors of all runs on resamples of a test set, the same for all."""

from __future__ import annotations

import numpy as np

__all__ = ["RESAMPLES", "resampled_means"]

RESAMPLES = 2000
"""The standard error that they give has itself an error of 1 / √(2 · 2000) = 1.6 %."""

SEED = 0
LARGEST = 4_000_000
"""Most weights that are held at once."""


def resampled_means(sums: np.ndarray, counts: np.ndarray, resamples: int = RESAMPLES) -> np.ndarray:
    r"""Return means over components on resamples of the structures, which are the same for all runs.

    .. math:: m_{bi} = \sum_f w_{bf} S_{if} \Big/ \sum_f w_{bf} N_f

    with w_bf, how often resample b holds structure f: N draws of N structures with replacement. Structures stay whole,
    as errors within one are not independent.

    Args:
        sums: S, sum of the absolute or squared errors of each run and structure, (n_runs, n_structures).
        counts: N, labelled components of each structure, (n_structures,), all above zero.
        resamples: How many.

    Returns:
        (n_runs, resamples).
    """
    n = len(counts)
    generator = np.random.default_rng(SEED)
    parts, size = [], max(LARGEST // n, 1)
    for start in range(0, resamples, size):
        weights = generator.multinomial(n, np.full(n, 1 / n), size=min(size, resamples - start)).astype(float)
        parts.append((sums @ weights.T) / (weights @ counts))
    return np.concatenate(parts, axis=1)
