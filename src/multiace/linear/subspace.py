"""Fewer directions for large bases: those that the rows of a sample of structures span."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from scipy.linalg import blas, lapack

__all__ = ["Subspace"]

TOLERANCE = 1e-7


@dataclass(frozen=True)
class Subspace:
    r"""Coefficients :math:`c = \Gamma^{-1} V a`, with orthonormal V of few columns.

    A penalty :math:`|\Gamma c|^2` is :math:`|a|^2`, so that a solver finds a with a prior of ones. Where V spans the
    rows of all data, the solution is that of the whole basis; a sample of them is the approximation that is known as
    subset of regressors, or Nyström's.

    Attributes:
        V: (p, k).
        prior: Γ, (p,).

    Source: Quiñonero-Candela, Rasmussen, JMLR 6, 1939 (2005).
    """

    V: np.ndarray
    prior: np.ndarray

    @classmethod
    def of_rows(
        cls, X: np.ndarray, prior: np.ndarray, most: int | None = None, overwrite: bool = False
    ) -> Subspace:
        """Return the directions that rows X (n, p) span, or ``most`` of them.

        Rows that others span up to 1e-7 of the largest are left out, by a Cholesky decomposition with pivoting of the
        products of rows. Another decomposition makes what remains orthonormal: all of it is matrix products. X,
        which may be large, is not copied if it may be overwritten.
        """
        rows = np.divide(X, prior, out=X if overwrite else None)
        K = blas.dsyrk(1.0, rows.T, trans=1)
        _, pivots, rank, _ = lapack.dpstrf(K, tol=TOLERANCE**2 * K.diagonal().max(), overwrite_a=1)
        V = rows[np.sort(pivots[: min(rank, most or rank)] - 1)].T
        for _ in range(2):
            L = scipy.linalg.cholesky(blas.dsyrk(1.0, V, trans=1), check_finite=False)
            V = blas.dtrsm(1.0, L, V, side=1, overwrite_b=1)
        return cls(V, prior)

    def project(self, X: np.ndarray) -> np.ndarray:
        """Return rows (n, k) for a of rows (n, p) for c."""
        return np.asarray((X / self.prior) @ self.V)

    def directions(self, c: np.ndarray) -> np.ndarray:
        """Return the a, (k,), of coefficients c, (p,): for rows in these directions the two give the same."""
        return np.asarray((c * self.prior) @ self.V)

    def coefficients(self, a: np.ndarray) -> np.ndarray:
        """Return c, (p,) or (n, p), of a, (k,) or (n, k)."""
        return np.asarray((a @ self.V.T) / self.prior)

    def draw(self, a: np.ndarray, outside: float, generator: np.random.Generator) -> np.ndarray:
        """Return c (n, p) of draws of a (n, k); all other directions have the standard deviation ``outside``."""
        noise = generator.normal(size=(len(a), len(self.prior)))
        return self.coefficients(a) + outside * (noise - (noise @ self.V) @ self.V.T) / self.prior
