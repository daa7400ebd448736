r"""The singular values of a system, in which every strength of a penalty is tried in a moment.

With coefficients in units of their prior, :math:`c = \Gamma^{-1} u`, and with
:math:`X \Gamma^{-1} = U s V^T` and :math:`d = U^T y`, a solver is a filter: :math:`u = V (1 - q) d / s`,
where q(s², λ), between 0 and 1, is what it takes from each direction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar

from multiace.errors import InputError
from multiace.linear.folds import Folds
from multiace.linear.system import System

__all__ = [
    "Shrinkage",
    "Spectrum",
    "checked_prior",
    "cross_validation",
    "gcv",
    "log_evidence",
    "lowest",
    "ridge",
]

EPS = float(np.finfo(np.float64).eps)
TINY = 1e-300
Shrinkage = Callable[[np.ndarray, ArrayLike], np.ndarray]
"""q of s² (r, 1) and strengths λ (k,), (r, k)."""


@dataclass(frozen=True)
class Spectrum:
    """The singular value decomposition of a system, without U.

    Attributes:
        s: Singular values of XΓ⁻¹ above rounding, largest first, (r,).
        V: Right singular vectors, (p, r).
        d: Uᵀy, (r,).
        rest: Σ w y² that no coefficients explain.
        n_rows: Rows, n.
        log_weights: Σ log w.
        prior: Γ, (p,).
        density: Where s are not all: values of s² and how many of the p each stands for, (m,) both.
    """

    s: np.ndarray
    V: np.ndarray
    d: np.ndarray
    rest: float
    n_rows: int
    log_weights: float
    prior: np.ndarray
    density: tuple[np.ndarray, np.ndarray] | None = None

    @classmethod
    def of(cls, system: System, prior: np.ndarray) -> Spectrum:
        """Decompose a system: R by singular values, AᵀA by eigenvalues."""
        M, p = system.compressed(), system.n_columns
        if system.form == "qr":
            return cls.of_rows(M[:p, :p], M[:p, p], M[p, p] ** 2, system, prior)
        gram = M[:p, :p] / np.outer(prior, prior)
        values, V = scipy.linalg.eigh(gram, lower=False, driver="evd", overwrite_a=True)
        keep = np.flatnonzero(values > EPS * p * max(values[-1], TINY))[::-1]
        s, V = np.sqrt(values[keep]), V[:, keep]
        d = V.T @ (M[:p, p] / prior) / s
        return cls(s, V, d, max(M[p, p] - d @ d, 0.0), system.n_rows, system.log_weights, prior)

    @classmethod
    def of_rows(
        cls, A: np.ndarray, z: np.ndarray, rest: float, system: System | Spectrum, prior: np.ndarray
    ) -> Spectrum:
        """Decompose few rows A (m, p) with targets z (m,) that stand for all rows of a system, up to a rest."""
        U, s, Vt = scipy.linalg.svd(A / prior, full_matrices=False, overwrite_a=True)
        r = int(np.sum(s > EPS * max(A.shape) * max(s.max(initial=0.0), TINY)))
        U, s, V = U[:, :r], s[:r], Vt[:r].T
        d = U.T @ z
        rest += float(np.sum((z - U @ d) ** 2))
        return cls(s, V, d, rest, system.n_rows, system.log_weights, prior)

    @property
    def rows(self) -> np.ndarray:
        """Few rows A that stand for all, (r, p): AᵀA = XᵀX in these directions; d are their targets."""
        return self.s[:, None] * self.V.T * self.prior

    @property
    def rounding(self) -> float:
        """The least Σ w (y - Xc)² that is known to differ from 0."""
        return EPS**2 * float(self.rest + self.d @ self.d) + TINY

    def of_columns(self, columns: np.ndarray, prior: np.ndarray) -> Spectrum:
        """Decompose some of the columns (m,), with their prior (m,)."""
        return Spectrum.of_rows(self.rows[:, columns], self.d, self.rest, self, prior)

    def coefficients(self, q: np.ndarray) -> np.ndarray:
        """Return c of a filter q (r,) as (p,), or of each column of q (r, k) as (p, k)."""
        u = self.V @ ((1 - q).T * (self.d / self.s)).T
        return (u.T / self.prior).T

    def residual(self, q: np.ndarray) -> np.ndarray:
        """Return Σ w (y - Xc)² of a filter or of each column."""
        return self.rest + self.d**2 @ q**2

    @property
    def counted(self) -> tuple[np.ndarray, np.ndarray]:
        """Values of s² and how many directions have each, (m,) both."""
        return self.density or (self.s**2, np.ones(len(self.s)))

    def freedom(self, shrinkage: Shrinkage, strengths: ArrayLike) -> np.ndarray:
        """Return n less the effective number of coefficients Σ (1 - q) for each strength, (k,)."""
        s2, counts = self.counted
        q = shrinkage(s2[:, None], np.atleast_1d(strengths))
        return self.n_rows - counts.sum() + counts @ q


def log_evidence(spectrum: Spectrum, strengths: ArrayLike) -> np.ndarray:
    r"""Return log p(y | λ) for each strength, (k,): ridge as Bayesian regression, the noise at its best.

    :math:`y \sim N(0, \sigma^2 (1 + X \Gamma^{-2} X^T / \lambda))`, and
    :math:`\sigma^2 = (\mathrm{rest} + \sum_i q_i d_i^2) / n` with :math:`q = \lambda / (s^2 + \lambda)`.
    """
    q = ridge(spectrum.s[:, None] ** 2, np.atleast_1d(strengths))
    n = spectrum.n_rows
    variance = np.maximum(spectrum.rest + spectrum.d**2 @ q, spectrum.rounding) / n
    s2, counts = spectrum.counted
    log_det = -counts @ np.log(ridge(s2[:, None], np.atleast_1d(strengths)))
    return -0.5 * (log_det + n * np.log(2 * np.pi * variance) + n - spectrum.log_weights)


def ridge(s2: np.ndarray, strengths: ArrayLike) -> np.ndarray:
    """q = λ / (s² + λ)."""
    strengths = np.asarray(strengths)
    return np.asarray(strengths / (s2 + strengths))


def gcv(spectrum: Spectrum, shrinkage: Shrinkage, strengths: ArrayLike) -> np.ndarray:
    """Return n Σ w (y - Xc)² / (n - Σ (1 - q))² for each strength, (k,): generalised cross-validation."""
    q = shrinkage(spectrum.s[:, None] ** 2, strengths)
    freedom = spectrum.freedom(shrinkage, strengths)
    with np.errstate(divide="ignore", invalid="ignore"):
        score = spectrum.n_rows * spectrum.residual(q) / freedom**2
    return np.where(freedom > 0, score, np.inf)


def cross_validation(
    folds: Folds, prior: np.ndarray, shrinkage: Shrinkage, strengths: ArrayLike
) -> np.ndarray:
    """Return the mean of w (y - Xc)² over all rows for each strength, (k,), c fitted without the part of the row."""
    errors, n = np.zeros(np.size(strengths)), 0
    for train, test in folds.splits():
        spectrum = Spectrum.of(train, prior)
        errors += test.squared_errors(spectrum.coefficients(shrinkage(spectrum.s[:, None] ** 2, strengths)))
        n += test.n_rows
    return errors / n


def lowest(tried: np.ndarray, smooth: Callable[[ArrayLike], np.ndarray] | None = None) -> float:
    """Return the strength of the lowest score of those tried, strengths and scores (2, k).

    Where a smooth function gives the scores, it is refined between its neighbours.
    """
    strengths, scores = tried
    best = int(np.argmin(scores))
    if smooth is None or not 0 < best < len(strengths) - 1:
        return float(strengths[best])
    low, high = np.log(strengths[best - 1]), np.log(strengths[best + 1])
    found = minimize_scalar(
        lambda x: smooth(np.exp(x))[0], bounds=(low, high), method="bounded", options={"xatol": 1e-7}
    )
    return float(np.exp(found.x))


def checked_prior(prior: ArrayLike | None, n_columns: int) -> np.ndarray:
    """Return Γ (p,), ones by default, or say which element cannot be used."""
    Γ = np.ones(n_columns) if prior is None else np.asarray(prior, dtype=np.float64)
    if Γ.shape != (n_columns,):
        raise InputError(
            f"the prior has the shape {Γ.shape}; one number for each of {n_columns} columns is needed."
        )
    wrong = ~((Γ > 0) & (np.inf > Γ))
    if wrong.any():
        column = int(np.argmax(wrong))
        raise InputError(
            f"the prior of column {column} is {Γ[column]:g}; it must be positive and finite "
            "(a small number leaves a coefficient nearly free)."
        )
    return Γ
