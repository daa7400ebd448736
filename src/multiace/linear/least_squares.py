"""Least squares without a penalty."""

from __future__ import annotations

import numpy as np
import scipy.linalg
from scipy.linalg import lapack

from multiace.errors import InputError
from multiace.linear.base import Solver, filled
from multiace.linear.folds import Data
from multiace.linear.posterior import Posterior
from multiace.linear.spectrum import EPS
from multiace.linear.system import System

__all__ = ["LeastSquares"]


class LeastSquares(Solver):
    r"""The c of least :math:`\sum w (y - Xc)^2`, for more rows than coefficients and independent columns."""

    def fit(self, data: Data) -> LeastSquares:
        """Fit.

        Raises:
            InputError: If there are too few rows, or the columns depend on each other.
        """
        system = filled(data.total())
        norms = system.norms
        seen = np.flatnonzero(norms)
        n, p = system.n_rows, len(seen)
        if n <= p:
            raise InputError(
                f"{n} rows do not determine {p} coefficients by least squares; it needs at least {p + 1}. "
                "Add structures, make the basis smaller, or take the solver bayesian_ridge."
            )
        R, z, rest = triangle(system, seen, norms[seen])
        inverse = lapack.dtrtri(R)[0]
        unseen = np.flatnonzero(norms == 0)
        self._count(n, p, rest, n - p, unseen)
        self.coef_ = np.zeros(len(norms))
        self.coef_[seen] = scipy.linalg.solve_triangular(R, z) / norms[seen]
        V = np.zeros((len(norms), p))
        V[seen] = inverse
        spread = np.full(p, np.sqrt(self.noise_variance_))
        self.posterior_ = Posterior(self.coef_, np.where(norms, norms, 1.0), V, spread, 0.0, unseen)
        return self


def triangle(system: System, seen: np.ndarray, norms: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Return R of the seen columns, each divided by its norm, its targets, and the residual.

    Raises:
        InputError: If the columns depend on each other.
    """
    M, p = system.compressed(), system.n_columns
    if system.form == "qr":
        R, z, rest, rounding = M[:p, seen] / norms, M[:p, p], M[p, p] ** 2, EPS
        if len(seen) < p:
            Q, R = scipy.linalg.qr(R, mode="economic")
            z, rest = Q.T @ z, rest + np.sum((z - Q @ (Q.T @ z)) ** 2)
    else:
        gram, right = M[np.ix_(seen, seen)] / np.outer(norms, norms), M[seen, p] / norms
        R, info = lapack.dpotrf(gram)
        if info:  # no positive square root: columns are dependent within rounding
            raise dependent(np.triu(gram) + np.triu(gram, 1).T, EPS)
        z = scipy.linalg.solve_triangular(R, right, trans="T")
        rest, rounding = max(M[p, p] - z @ z, 0.0), np.sqrt(EPS)
    if lapack.dtrcon(R)[0] < len(seen) * rounding:
        raise dependent(R, rounding)
    return R, z, float(rest)


def dependent(matrix: np.ndarray, rounding: float) -> InputError:
    """Return the sentence with the rank and a column that the others give."""
    R, pivots = scipy.linalg.qr(matrix, mode="r", pivoting=True)
    diagonal = np.abs(np.diag(R))
    p = len(diagonal)
    rank = min(int(np.sum(diagonal > p * rounding * diagonal[0])), p - 1)
    return InputError(
        f"{p} columns have the rank {rank}: column {pivots[rank]} is a sum of others in these data, so that "
        "least squares has no single answer. Take the solver bayesian_ridge, ridge or truncated_svd, "
        "or make the basis smaller."
    )
