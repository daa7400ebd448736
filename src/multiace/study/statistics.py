"""Means over seeds, and their intervals: what the seed does, and which structures a test set happens to hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

__all__ = ["Interval", "mean_interval", "welch"]

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


def mean_interval(
    values: Sequence[float],
    resampled: np.ndarray | None = None,
    structures: int = 0,
) -> Interval:
    r"""Return the mean with its interval.

    Two things are left to chance: the seed, of which there are n, and the structures of the test set, of which there
    are N, the same for all seeds. Their variances add up, and Student's t has the degrees of freedom of Welch and
    Satterthwaite:

    .. math:: \bar x \pm t_\nu \sqrt{u + v}, \qquad u = \tfrac{1}{n (n-1)} \sum_i (x_i - \bar x)^2, \qquad
              \nu = \frac{(u + v)^2}{u^2 / (n - 1) + v^2 / (N - 1)}

    u is the variance of the bootstrap over seeds, which a mean has in closed form, times n / (n - 1), which corrects
    its bias; v that of the bootstrap over structures, times N / (N - 1). What seed and structure do together is in
    both. Percentiles of resampled seeds are not used: three seeds hold the true mean between the lowest and the highest
    in 1 - 2 / 2³ = 75 % of cases at most. Simulated with forty structures, intervals of 95 % hold it in 92 to 95 % with
    three seeds, 94 to 95 % with five, and 88 to 95 % with two: fewest where v is a tenth of u.

    Args:
        values: Of n runs; with one, the interval is without bounds.
        resampled: Their mean on resamples of the structures, (resamples,); None: v = 0, Student's t over seeds.
        structures: N.
    """
    x = np.asarray(values, dtype=float)
    n, mean = len(x), float(x.mean())
    if n < 2:
        return Interval(mean, float("nan"), -np.inf, np.inf, n)
    deviation = float(x.std(ddof=1))
    u, v = deviation**2 / n, 0.0
    if resampled is not None:
        v = float(resampled.var(ddof=1)) * structures / (structures - 1)
    if u + v == 0:
        return Interval(mean, deviation, mean, mean, n)
    half = welch((u, n), (v, structures))
    return Interval(mean, deviation, mean - half, mean + half, n)


def welch(*parts: tuple[float, int]) -> float:
    r"""Return half the width of the interval of a mean whose variance is a sum of parts, not all zero.

    .. math:: t_\nu \Bigl( \sum_k u_k \Bigr)^{1/2}, \qquad
              \nu = \Bigl( \sum_k u_k \Bigr)^2 \Big/ \sum_k \frac{u_k^2}{n_k - 1}

    Args:
        parts: Each variance :math:`u_k`, and the number :math:`n_k` that it was estimated from.
    """
    variance = sum(u for u, _ in parts)
    freedom = variance**2 / sum(u**2 / (n - 1) for u, n in parts if u)
    return float(stdtrit(freedom, 0.5 + CONFIDENCE / 2)) * variance**0.5
