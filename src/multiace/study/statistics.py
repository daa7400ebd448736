"""Means, and intervals of differences between points that share their seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

__all__ = ["Interval", "mean_interval", "paired_difference"]

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean over seeds.

    Attributes:
        mean: Mean of the runs.
        deviation: Their standard deviation, that of a sample (n - 1); NaN for one run.
        low: Lower end of the interval of the mean.
        high: Upper end.
        n: Number of runs.
    """

    mean: float
    deviation: float
    low: float
    high: float
    n: int

    @property
    def excludes_zero(self) -> bool:
        """Whether a difference is one."""
        return self.low > 0 or self.high < 0


def mean_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    r"""Return the mean with its interval by Student's t.

    .. math:: \bar x \pm t_{n-1}\, s / \sqrt n, \qquad s^2 = \tfrac{1}{n-1} \sum_i (x_i - \bar x)^2

    Args:
        values: Of n runs; with one, the interval is without bounds.
        confidence: Of the interval.
    """
    x = np.asarray(values, dtype=float)
    n, mean = len(x), float(x.mean())
    if n < 2:
        return Interval(mean, float("nan"), -np.inf, np.inf, n)
    deviation = float(x.std(ddof=1))
    half = float(stats.t.ppf(0.5 + confidence / 2, n - 1)) * deviation / n**0.5
    return Interval(mean, deviation, mean - half, mean + half, n)


def paired_difference(
    values: dict[int, float], reference: dict[int, float], confidence: float = CONFIDENCE
) -> Interval | None:
    """Return the difference to a reference, run by run of the same seed; None if they share none.

    What the seed does to both of them cancels, so that the interval is that of the change alone.

    Args:
        values: By seed.
        reference: By seed.
        confidence: Of the interval.
    """
    seeds = sorted(values.keys() & reference.keys())
    if not seeds:
        return None
    return mean_interval([values[seed] - reference[seed] for seed in seeds], confidence)
