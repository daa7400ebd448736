"""Error bars that are true: what is predicted of a structure by all the others, without a fit for each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize

from multiace.linear.posterior import Posterior

__all__ = ["calibrated", "left_out"]

MOST_KNOWN = 1 - 1e-10  # of what is known of a row, the part that it tells itself


def left_out(
    posterior: Posterior, X: np.ndarray, errors: np.ndarray, noise: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    r"""Return errors and variances of rows predicted by a fit without them, (n,) each.

    .. math:: e' = N (N - C)^{-1} e, \qquad C' = C + C (N - C)^{-1} C, \qquad C = X \Sigma X^T

    Exact at the strength of the fit to all rows.

    Args:
        posterior: Σ, of the fit to all rows.
        X: The rows of one structure, (n, p).
        errors: e = Xc - y, (n,).
        noise: N, the variance of the noise that the fit has assumed of each row, (n,), positive.
    """
    scale = np.sqrt(noise)
    whitened = (X / posterior.prior) @ posterior.V * posterior.spread / scale[:, None]
    U, s, _ = np.linalg.svd(whitened, full_matrices=False)
    own = np.minimum(s**2, MOST_KNOWN)
    e = errors / scale
    e = e + U @ (own / (1 - own) * (U.T @ e))
    return scale * e, noise * (U**2 @ (own / (1 - own)))


def calibrated(errors: Sequence[np.ndarray], variances: Sequence[np.ndarray]) -> tuple[float, list[float]]:
    r"""Return the factor α and the noise s_t of each target of the largest likelihood, for variances α² v + s_t².

    Posteriors take what a model cannot express for noise, the same everywhere; but it grows, too, with the distance
    from the data. α says how much. Targets count alike, however many labels each has.

    Args:
        errors: Of each target, of structures left out.
        variances: v, what the posterior says of them, without noise.
    """
    spread = [float(np.sqrt(np.mean(e**2))) or 1.0 for e in errors]

    def loss(x: np.ndarray) -> float:
        total = 0.0
        for e, v, s, log_noise in zip(errors, variances, spread, x[1:], strict=True):
            variance = np.exp(2 * x[0]) * v / s**2 + np.exp(2 * log_noise)
            total += float(np.mean(np.log(variance) + (e / s) ** 2 / variance))
        return total

    bounds = [(-5.0, 7.0), *([(-7.0, 2.0)] * len(errors))]
    x = minimize(loss, np.zeros(1 + len(errors)), bounds=bounds, method="L-BFGS-B").x
    return float(np.exp(x[0])), [s * float(np.exp(n)) for s, n in zip(spread, x[1:], strict=True)]
