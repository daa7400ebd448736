"""What every solver has in common: what a fit leaves behind, and what is done with it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from multiace.errors import InputError
from multiace.linear.posterior import Posterior
from multiace.linear.spectrum import Shrinkage, Spectrum
from multiace.linear.system import System

__all__ = ["NO_ROWS", "Solver", "filled"]

NO_ROWS = "there are no rows to fit: structures need energies, forces or stresses, of a weight above 0."


class Solver(ABC):
    """Coefficients c of linear rows, under scikit-learn's names; ``fit`` of each solver sets what stands here.

    Attributes:
        coef_: c, (p,).
        posterior_: Distribution of c.
        noise_variance_: σ² of a row of weight 1.
        dof_: Effective number of coefficients that the data determine.
        rank_: Directions that the data see (``lsqr``: that it has found).
        rmse_: √(Σ w (y - Xc)² / n) over the rows of the fit.
        log_evidence_: Log marginal likelihood; None for solvers without a prior.
        unseen_: Columns that are zero in all rows, (u,); their coefficients are 0.
        notes_: Sentences that a user should see.
    """

    coef_: np.ndarray
    posterior_: Posterior
    noise_variance_: float
    dof_: float
    rank_: int
    rmse_: float
    log_evidence_: float | None = None
    unseen_: np.ndarray
    notes_: tuple[str, ...] = ()

    @abstractmethod
    def fit(self, data: Any) -> Self:
        """Find the coefficients of rows, a System or Folds of them."""

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Return Xc, (n,)."""
        return np.asarray(X, dtype=np.float64) @ self.coef_

    def variance(self, X: ArrayLike) -> np.ndarray:
        """Return the variance of x·c for each row of X, (n,), without noise; infinite where nothing is known."""
        return self.posterior_.variance(np.asarray(X, dtype=np.float64))

    def draw(self, n: int, generator: np.random.Generator) -> np.ndarray:
        """Return a committee: n sets of coefficients drawn from the posterior, (n, p)."""
        return self.posterior_.draw(n, generator)

    def covariance(self) -> np.ndarray:
        """Return the covariance of the coefficients, (p, p); everything else works without it."""
        return self.posterior_.covariance()

    def _describe(
        self, spectrum: Spectrum, shrinkage: Shrinkage, strength: float, unseen: np.ndarray
    ) -> np.ndarray:
        """Set the statistics of a fit; return its filter q (r,)."""
        q = shrinkage(spectrum.s**2, strength)
        freedom = float(spectrum.freedom(shrinkage, strength)[0])
        self._count(spectrum.n_rows, len(spectrum.s), float(spectrum.residual(q)), freedom, unseen)
        return q

    def _count(self, n: int, rank: int, residual: float, freedom: float, unseen: np.ndarray) -> None:
        self.noise_variance_ = residual / freedom if freedom > 0 else 0.0
        self.rmse_, self.dof_, self.rank_ = float(np.sqrt(residual / n)), n - freedom, rank
        self.unseen_, self.notes_ = unseen, ()
        if len(unseen):
            numbers = ", ".join(map(str, unseen[:5])) + (", ..." if len(unseen) > 5 else "")
            self._note(f"{len(unseen)} columns are zero in all rows ({numbers}): their coefficients are 0.")

    def _note(self, sentence: str) -> None:
        self.notes_ = (*self.notes_, sentence)


def filled(system: System) -> System:
    """Return the system, or say that there is nothing in it."""
    if system.n_rows == 0:
        raise InputError(NO_ROWS)
    return system
