"""Solvers that damp or cut singular directions, with the strength chosen from the data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike

from multiace.errors import InputError
from multiace.linear.base import Solver, filled
from multiace.linear.folds import Data, Folds
from multiace.linear.posterior import Posterior
from multiace.linear.spectrum import (
    Spectrum,
    checked_prior,
    cross_validation,
    gcv,
    log_evidence,
    lowest,
    ridge,
)

__all__ = ["BayesianRidge", "Filtered", "Ridge", "TruncatedSVD"]

CANDIDATES = 300
NOTHING = (
    "the data bear out no dependence on any column: coefficients are nearly 0. Check labels and weights."
)


class Filtered(Solver, ABC):
    r"""Directions times a filter of one strength: :math:`c = \Gamma^{-1} V (1 - q(s^2, \lambda)) d / s`.

    Args:
        prior: Γ, (p,): how expensive each coefficient is, 1/Γ its size in the prior up to a factor; ones by
            default.
        strength: λ; chosen by the criterion by default.
        criterion: ``evidence``, ``gcv`` (generalised cross-validation) or ``cv`` (cross-validation of
            :class:`~multiace.linear.folds.Folds`). By default ``cv`` where the rows are in parts, else the
            first of the solver.

    Attributes:
        strength_: λ.
        criterion_: What chose it; ``given`` where nothing did.
        scores_: Strengths that were tried and their scores (minus log evidence, or mean squared errors),
            (2, k).
    """

    criteria: ClassVar[tuple[str, ...]]
    strength_: float
    criterion_: str
    scores_: np.ndarray

    def __init__(
        self, prior: ArrayLike | None = None, strength: float | None = None, criterion: str | None = None
    ) -> None:
        if strength is not None and not 0 < strength < np.inf:
            raise InputError(f"the strength of a penalty is {strength}; it must be positive and finite.")
        if criterion is not None and criterion not in self.criteria:
            raise InputError(f"criterion {criterion!r} is not one of {', '.join(self.criteria)}.")
        self.prior, self.strength, self.criterion = prior, strength, criterion

    @staticmethod
    @abstractmethod
    def shrinkage(s2: np.ndarray, strengths: ArrayLike) -> np.ndarray:
        """Return q (r, k), between 0 and 1, of s² (r, 1) and λ (k,)."""

    @abstractmethod
    def candidates(self, spectrum: Spectrum) -> np.ndarray:
        """Return strengths to try."""

    @abstractmethod
    def posterior(self, spectrum: Spectrum, q: np.ndarray, unseen: np.ndarray) -> Posterior:
        """Return what is known of the coefficients, with the filter q (r,)."""

    def fit(self, data: Data) -> Self:
        """Fit, with the strength that the criterion likes best unless one is given.

        Raises:
            InputError: If there are no rows, or ``cv`` is asked for and the rows are not in parts.
        """
        system = filled(data.total())
        unseen = np.flatnonzero(system.norms == 0)
        spectrum = Spectrum.of(system, checked_prior(self.prior, system.n_columns))
        del system  # p² numbers that cross-validation can use
        return self.solve(spectrum, unseen, data)

    def solve(self, spectrum: Spectrum, unseen: np.ndarray, data: Data | None = None) -> Self:
        """Fit to a spectrum; data are what cross-validation splits, ``unseen`` the columns without rows."""
        self.choose(spectrum, data)
        q = self._describe(spectrum, self.shrinkage, self.strength_, unseen)
        self.coef_ = spectrum.coefficients(q)
        self.coef_[unseen] = 0.0  # not a rounding error
        self.posterior_ = self.posterior(spectrum, q, unseen)
        if self.strength is None and self.strength_ == self.scores_[0].max():
            self._note(NOTHING)
        return self

    def choose(self, spectrum: Spectrum, data: Data | None = None) -> None:
        """Set the strength, and what chose it."""
        if self.strength is not None:
            self.strength_, self.criterion_ = self.strength, "given"
            return
        folds = data if isinstance(data, Folds) else None
        self.criterion_ = self.criterion or ("cv" if folds and "cv" in self.criteria else self.criteria[0])
        score = self._score(spectrum, folds)
        strengths = self.candidates(spectrum)
        self.scores_ = np.array([strengths, score(strengths)])
        self.strength_ = lowest(self.scores_, score if self.criterion_ == "evidence" else None)

    def _score(self, spectrum: Spectrum, folds: Folds | None) -> Callable[[ArrayLike], np.ndarray]:
        """Return the function of strengths that is lowest at the best."""
        if self.criterion_ == "evidence":
            return lambda λ: -log_evidence(spectrum, λ)
        if self.criterion_ == "gcv":
            return lambda λ: gcv(spectrum, self.shrinkage, λ)
        if folds is None:
            raise InputError(
                "cross-validation needs rows in parts (Folds): collect them so, or take another criterion."
            )
        return lambda λ: cross_validation(folds, spectrum.prior, self.shrinkage, λ)


class Ridge(Filtered):
    r"""The c of least :math:`\sum w (y - Xc)^2 + \lambda |\Gamma c|^2`.

    The prior is :math:`c \sim N(0, \sigma^2 \Gamma^{-2} / \lambda)`, whatever chose λ.
    """

    criteria: ClassVar[tuple[str, ...]] = ("evidence", "gcv", "cv")
    shrinkage = staticmethod(ridge)

    def candidates(self, spectrum: Spectrum) -> np.ndarray:
        """Return strengths from no penalty at all to no coefficients at all."""
        largest, smallest = spectrum.s[[0, -1]] if len(spectrum.s) else (1.0, 1.0)
        return np.geomspace(1e-4 * smallest**2, 1e4 * largest**2, CANDIDATES)

    def posterior(self, spectrum: Spectrum, q: np.ndarray, unseen: np.ndarray) -> Posterior:
        """Return the posterior; unseen columns keep the variance of their prior."""
        self.log_evidence_ = float(log_evidence(spectrum, self.strength_)[0])
        outside = np.sqrt(self.noise_variance_ / self.strength_)
        return Posterior(
            self.coef_, spectrum.prior, spectrum.V, outside * np.sqrt(q), outside, np.empty(0, dtype=int)
        )


class BayesianRidge(Ridge):
    """Bayesian regression: ridge with λ and σ² where the evidence is largest (MacKay), found without iteration."""

    criteria: ClassVar[tuple[str, ...]] = ("evidence",)


class TruncatedSVD(Filtered):
    """Least squares in the directions of s² ≥ λ. The others are left out, from error bars too."""

    criteria: ClassVar[tuple[str, ...]] = ("gcv", "cv")

    @staticmethod
    def shrinkage(s2: np.ndarray, strengths: ArrayLike) -> np.ndarray:
        """q = 1 where s² < λ, else 0."""
        return np.where(s2 < np.asarray(strengths), 1.0, 0.0)

    def candidates(self, spectrum: Spectrum) -> np.ndarray:
        """Return thresholds just below singular values: all, or 300 of them; and one above, for none."""
        s2 = spectrum.s**2 if len(spectrum.s) else np.ones(1)
        kept = np.unique(np.linspace(0, len(s2) - 1, CANDIDATES).astype(int))[::-1]
        return np.append(s2[kept] * (1 - 1e-9), 1.1 * s2[0])

    def posterior(self, spectrum: Spectrum, q: np.ndarray, unseen: np.ndarray) -> Posterior:
        """Return the distribution of least squares in the directions that are kept."""
        kept = q == 0
        spread = np.sqrt(self.noise_variance_) / spectrum.s[kept]
        return Posterior(self.coef_, spectrum.prior, spectrum.V[:, kept], spread, 0.0, unseen)
