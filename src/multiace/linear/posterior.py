"""What is known of the coefficients after the fit: a normal distribution, its covariance in factors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Posterior"]

ROWS = 1024  # of X at a time


@dataclass(frozen=True)
class Posterior:
    r"""Coefficients :math:`c \sim N(\mu, \Gamma^{-1} [a^2 (1 - V V^T) + V e^2 V^T] \Gamma^{-1})`.

    Attributes:
        mean: μ, (p,).
        prior: Γ, (p,).
        V: Directions that the data have seen, as columns, (p, r); orthonormal where a is not 0.
        spread: e, the standard deviation along each, (r,).
        outside: a, the standard deviation in all other directions: that of the prior, or 0 for solvers
            without.
        unseen: Columns of which neither data nor prior say anything, (u,): coefficient 0, variance infinite.
    """

    mean: np.ndarray
    prior: np.ndarray
    V: np.ndarray
    spread: np.ndarray
    outside: float
    unseen: np.ndarray

    def variance(self, X: np.ndarray) -> np.ndarray:
        """Return the variance of x·c for each row x of X (n, p), without noise, (n,)."""
        X = np.asarray(X, dtype=np.float64)
        if len(X) > ROWS:
            return np.concatenate([self.variance(X[i : i + ROWS]) for i in range(0, len(X), ROWS)])
        scaled = X / self.prior
        seen = scaled @ self.V
        variance = (seen**2) @ self.spread**2
        if self.outside:
            rest = np.sum((scaled - seen @ self.V.T) ** 2, axis=1)
            variance += self.outside**2 * rest
        return np.where(np.any(X[:, self.unseen] != 0, axis=1), np.inf, variance)

    def draw(self, n: int, generator: np.random.Generator) -> np.ndarray:
        """Return n sets of coefficients drawn from the distribution, (n, p); unseen ones stay 0."""
        deviation = (generator.normal(size=(n, len(self.spread))) * self.spread) @ self.V.T
        if self.outside:
            noise = generator.normal(size=(n, len(self.mean)))
            deviation += self.outside * (noise - (noise @ self.V) @ self.V.T)
        return np.asarray(self.mean + deviation / self.prior)

    def covariance(self) -> np.ndarray:
        """Return the covariance of the coefficients as one matrix (p, p), infinite on the diagonal where unseen."""
        inner = (self.V * self.spread**2) @ self.V.T
        if self.outside:
            inner += self.outside**2 * (np.eye(len(self.mean)) - self.V @ self.V.T)
        covariance = inner / np.outer(self.prior, self.prior)
        covariance[self.unseen, self.unseen] = np.inf
        return covariance
