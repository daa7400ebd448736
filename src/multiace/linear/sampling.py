"""Draws from a posterior whose covariance does not fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

__all__ = ["posterior_deviations"]

ACCURACY = 0.1  # of a draw, in the norm of H: small beside what few draws leave unknown
Rows = Callable[[], Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]]


def posterior_deviations(
    rows: Rows, prior: np.ndarray, strength: float, n_draws: int, max_iter: int
) -> np.ndarray:
    r"""Draw deviations of c from its mean, in units of σ, (p, n_draws), by conjugate gradients on all at
    once.

    With :math:`H = \Gamma^{-1} X^T w X \Gamma^{-1} + \lambda` and normal numbers ε (n,) and η (p,), the
    solution of :math:`H u = \Gamma^{-1} X^T \sqrt{w} \epsilon + \sqrt{\lambda} \eta` has the covariance
    :math:`H^{-1}`, and Γ⁻¹u that of c.

    Args:
        rows: Gives X, y and w of each block at each call.
        prior: Γ, (p,).
        strength: λ.
        n_draws: Number of draws.
        max_iter: Most steps, each one pass over the rows.
    """
    random = np.random.default_rng(0)
    p = len(prior)

    def multiply(P: np.ndarray) -> np.ndarray:
        scaled, product = P / prior[:, None], np.zeros_like(P)
        for X, _, weights in rows():
            product += X.T @ (weights[:, None] * (X @ scaled))
        return product / prior[:, None] + strength * P

    noise = np.zeros((p, n_draws))
    for X, _, weights in rows():
        noise += X.T @ (np.sqrt(weights)[:, None] * random.normal(size=(len(X), n_draws)))
    residual = noise / prior[:, None] + np.sqrt(strength) * random.normal(size=(p, n_draws))
    u, direction = np.zeros((p, n_draws)), residual
    r2 = np.sum(residual**2, axis=0)
    for _ in range(max_iter):
        if np.all(r2 <= ACCURACY**2 * strength * p):  # in the norm of H, |error|² ≤ r²/λ, and |u|² is about p
            break
        image = multiply(direction)
        step = r2 / np.maximum(np.sum(direction * image, axis=0), np.finfo(float).tiny)
        u += step * direction
        residual = residual - step * image
        before, r2 = r2, np.sum(residual**2, axis=0)
        direction = residual + r2 / before * direction
    return u / prior[:, None]
