"""Automatic relevance determination: a prior for every coefficient, most of which turn out to be nil."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import cho_solve, cholesky, lapack

from multiace.errors import InputError
from multiace.linear.base import Solver, filled
from multiace.linear.folds import Data
from multiace.linear.posterior import Posterior
from multiace.linear.ridge import BayesianRidge
from multiace.linear.spectrum import EPS, TINY, Spectrum, checked_prior, log_evidence, ridge

__all__ = ["ARD"]


class ARD(Solver):
    r"""Bayesian regression with :math:`c_j \sim N(0, \sigma^2 / \lambda_j)`, σ² and all λ by the evidence.

    Begins with the answer of :class:`~multiace.linear.ridge.BayesianRidge` and repeats MacKay's and
    Tipping's update

    .. math:: \lambda_j \leftarrow g_j \sigma^2 / c_j^2, \quad g_j = 1 - \lambda_j \Sigma_{jj} / \sigma^2,

    or, where the evidence would fall, the geometric mean of old and new λ, for which it cannot (Wipf and
    Nagarajan, NIPS 2007). A coefficient is taken out when the data determine less than 1/threshold of it.
    Every step costs p³ operations for the p columns that are left, however many rows there are.

    Args:
        prior: Γ, where λ begins: λ_j in proportion to Γ_j².
        threshold: Of λ_j / Σ w X_j² above which a column is taken out.
        max_iter: Most steps.
        tol: The least gain of log evidence in a step.

    Attributes:
        lambda_: λ, (p,); infinite for columns that were taken out.
        n_iter_: Steps.
        converged_: Whether the evidence stopped rising before the last of them.
    """

    lambda_: np.ndarray
    n_iter_: int
    converged_: bool

    def __init__(
        self,
        prior: ArrayLike | None = None,
        threshold: float = 1e4,
        max_iter: int = 300,
        tol: float = 1e-3,
    ) -> None:
        if not threshold > 1:
            raise InputError(f"the threshold of ard is {threshold:g}; it must be above 1.")
        self.prior, self.threshold, self.max_iter, self.tol = prior, threshold, max_iter, tol

    def fit(self, data: Data) -> ARD:
        """Fit. Error bars know nothing of columns that were taken out.

        Raises:
            InputError: If there are no rows.
        """
        system = filled(data.total())
        norms = system.norms
        unseen, active = np.flatnonzero(norms == 0), np.flatnonzero(norms)
        spectrum = Spectrum.of(system, checked_prior(self.prior, system.n_columns))
        del system
        begin = BayesianRidge()
        begin.choose(spectrum, data)
        λ, active = self._iterate(spectrum, begin.strength_ * spectrum.prior**2, active)
        self.lambda_ = np.full(len(norms), np.inf)
        self.lambda_[active] = λ
        self._take(spectrum.of_columns(active, np.sqrt(λ)), active, unseen)
        return self

    def _iterate(
        self, spectrum: Spectrum, λ: np.ndarray, active: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return λ of the columns that stay, and these."""
        A = spectrum.rows
        gram, x2 = A.T @ A, np.sum(A**2, axis=0)
        floor = 10 * EPS * len(x2) * x2  # below, rounding of the Gram matrix is larger than the prior

        def at(λ: np.ndarray, active: np.ndarray) -> Step:
            stay = λ <= self.threshold * x2[active]
            λ, active = np.maximum(λ[stay], floor[active[stay]]), active[stay]
            return Step.at(λ, active, gram[np.ix_(active, active)], A[:, active], spectrum)

        now, self.n_iter_, self.converged_ = at(λ[active], active), 0, False
        while self.n_iter_ < self.max_iter and not self.converged_:
            update = now.g * now.variance / np.maximum(now.c**2, TINY)
            new = at(update, now.active)
            if new.log_evidence < now.log_evidence:
                new = at(np.sqrt(now.λ * update), now.active)
            self.converged_ = new.log_evidence - now.log_evidence < self.tol
            self.n_iter_, now = self.n_iter_ + 1, new
        return now.λ, now.active

    def _take(self, spectrum: Spectrum, active: np.ndarray, unseen: np.ndarray) -> None:
        """Take the ridge regression of the columns that stay, each with its own prior, as the answer."""
        q = self._describe(spectrum, ridge, 1.0, unseen)
        if not self.converged_:
            self._note(f"the evidence still rose after {self.n_iter_} steps of ard; raise max_iter.")
        self.coef_ = np.zeros(len(self.lambda_))
        self.coef_[active] = spectrum.coefficients(q)
        self.log_evidence_ = float(log_evidence(spectrum, 1.0)[0])
        V = np.zeros((len(self.lambda_), len(spectrum.s)))
        V[active] = spectrum.V
        σ = np.sqrt(self.noise_variance_)
        self.posterior_ = Posterior(self.coef_, np.sqrt(self.lambda_), V, σ * np.sqrt(q), float(σ), unseen)


@dataclass(frozen=True)
class Step:
    """The evidence at one λ, and what its gradient is made of.

    Attributes:
        λ: Of the active columns, (m,).
        active: Their numbers, (m,).
        c: Coefficients, (m,).
        g: 1 - λ Σ_jj/σ², how far the data determine each coefficient, (m,).
        variance: σ², at its best for these λ.
        log_evidence: Log p(y | λ, σ²).
    """

    λ: np.ndarray
    active: np.ndarray
    c: np.ndarray
    g: np.ndarray
    variance: float
    log_evidence: float

    @classmethod
    def at(
        cls, λ: np.ndarray, active: np.ndarray, gram: np.ndarray, A: np.ndarray, spectrum: Spectrum
    ) -> Step:
        """Factorise 1 + Λ^(-1/2) AᵀA Λ^(-1/2), whose eigenvalues are 1 and more."""
        unit, n = 1 / np.sqrt(λ), spectrum.n_rows
        L = cholesky(gram * np.outer(unit, unit) + np.eye(len(λ)), lower=True)
        c = unit * cho_solve((L, True), unit * (A.T @ spectrum.d))
        misfit = spectrum.rest + np.sum((spectrum.d - A @ c) ** 2) + λ @ c**2
        variance = max(float(misfit), spectrum.rounding) / n
        inverse = lapack.dtrtri(L, lower=1)[0] if len(L) else L
        g = np.maximum(1 - np.sum(inverse**2, axis=0), 0.0)
        log_det = 2 * np.log(np.diag(L)).sum()
        evidence = -0.5 * (log_det + n * np.log(2 * np.pi * variance) + n - spectrum.log_weights)
        return cls(λ, active, c, g, variance, float(evidence))
