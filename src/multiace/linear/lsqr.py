"""Bayesian regression without p²: for bases that do not fit, over blocks that are made again for each step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike

from multiace.errors import InputError
from multiace.linear.base import NO_ROWS
from multiace.linear.density import Density
from multiace.linear.folds import Data
from multiace.linear.posterior import Posterior
from multiace.linear.ridge import Ridge
from multiace.linear.sampling import posterior_deviations
from multiace.linear.spectrum import EPS, Spectrum, checked_prior, ridge
from multiace.linear.system import checked_rows

__all__ = ["LSQR", "Bidiagonalisation", "Blocks"]

Blocks = Callable[[], Iterable[tuple[Any, ...]]]
"""Gives the same blocks of rows at each call: (X, y) or (X, y, weights), as for System.add."""
PATIENCE = 5  # steps between two looks at the answer


class LSQR(Ridge):
    r"""Ridge in the Krylov space of Golub and Kahan (Paige and Saunders, ACM TOMS 8, 43, 1982), λ by the evidence.

    k steps from y find the directions that matter to the fit, as a bidiagonal matrix whose singular values are a
    :class:`~multiace.linear.spectrum.Spectrum`; from there on it is :class:`~multiace.linear.ridge.Ridge`. What
    depends on all directions, log det and the effective number of coefficients, is estimated beside it
    (:class:`~multiace.linear.density.Density`). Memory is (k + 32) p + n. Differs from LSQR as published: directions
    are kept and made orthogonal, λ is chosen on the way, and a step makes each block once instead of twice.

    It stops when the fit is within ``tol`` of the noise: with ρ, the residual of the normal equations,
    :math:`|X \delta c|^2 \le |\rho|^2 / \lambda \le \mathrm{tol}^2 n \sigma^2`.

    Args:
        prior: Γ, (p,); ones by default.
        strength: λ; by the evidence by default.
        tol: Error of the fit that is allowed, root mean square over rows, in units of σ.
        max_iter: Most steps, each one pass over the rows; as many again for the committee.
        committee: Draws from the posterior that stand for it: they know a standard deviation to 1/√(2·32), an
            eighth of it.

    Attributes:
        n_iter_: Steps.
        error_: Bound on the error of the fit, in units of σ.
    """

    criteria: ClassVar[tuple[str, ...]] = ("evidence",)
    n_iter_: int
    error_: float

    def __init__(
        self,
        prior: ArrayLike | None = None,
        strength: float | None = None,
        tol: float = 1e-2,
        max_iter: int = 300,
        committee: int = 32,
    ) -> None:
        super().__init__(prior, strength)
        self.tol, self.max_iter, self.committee = tol, max_iter, committee

    def fit(self, data: Data | Blocks) -> Self:
        """Fit to blocks of rows, or directly to rows that are compressed already.

        Raises:
            InputError: If there are no rows, or a number cannot be used.
        """
        if not callable(data):
            return super().fit(data)
        process = Bidiagonalisation(data, self.prior, self.max_iter)
        self.error_ = np.inf
        while self.error_ > self.tol:
            for _ in range(PATIENCE):
                process.step()
            spectrum = process.spectrum()
            self.choose(spectrum)
            self.error_ = process.error(spectrum, self.strength_)
            if process.finished:
                break
        self.solve(spectrum, process.unseen)
        self.posterior_ = self._committee(process)
        self.n_iter_ = process.k
        if self.error_ > self.tol:
            self._note(
                f"stopped after {self.n_iter_} steps: the error of the fit is up to {self.error_:.2g} of the noise, "
                f"{self.tol:g} was asked for; raise max_iter."
            )
        return self

    def _committee(self, process: Bidiagonalisation) -> Posterior:
        """Return the distribution that a committee spans: the Krylov space of y knows little of other directions."""
        Δ = posterior_deviations(process.rows, process.prior, self.strength_, self.committee, self.max_iter)
        spread = np.full(self.committee, np.sqrt(self.noise_variance_ / self.committee))
        return Posterior(self.coef_, np.ones(len(Δ)), Δ, spread, 0.0, np.empty(0, dtype=int))


class Bidiagonalisation:
    """XΓ⁻¹V = UB by the recurrence of Golub and Kahan, from u₁ = y/|y|. V is kept, of U the last column.

    Attributes:
        alphas: Diagonal of B, (k,), and that of the next step.
        betas: |y|, then the diagonal below, (k + 1,).
        V: Orthonormal directions, as rows, (max_iter + 1, p).
        density: Of all singular values, for traces: those of B are few, and not evenly chosen.
        unseen: Columns that are zero in all rows.
        finished: Whether the space is exhausted, or ``max_iter`` reached.
    """

    def __init__(self, blocks: Blocks, prior: ArrayLike | None, max_iter: int) -> None:
        self.blocks, self.n_rows, self.log_weights = blocks, 0, 0.0
        self.u: list[np.ndarray] = []
        w = largest = np.zeros(0)
        for X, y, weights in self.rows():
            if not self.u:
                w, largest = np.zeros(X.shape[1]), np.zeros(X.shape[1])
            self.n_rows += len(y)
            self.log_weights += float(np.log(weights).sum())
            self.u.append(np.sqrt(weights) * y)
            w += X.T @ (weights * y)
            np.maximum(largest, np.abs(X).max(axis=0, initial=0.0), out=largest)
        if not self.n_rows:
            raise InputError(NO_ROWS)
        self.prior, self.unseen = checked_prior(prior, len(w)), np.flatnonzero(largest == 0)
        self.V = np.zeros((min(max_iter, len(w), self.n_rows) + 1, len(w)))
        self.alphas: list[float] = []
        self.betas: list[float] = []
        self.density = Density(len(w))
        self._turn(w)

    def rows(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield rows, targets and weights of each block."""
        p = None
        for number, (X, y, *weights) in enumerate(self.blocks()):
            p = p or np.shape(X)[-1]
            yield checked_rows(X, y, weights[0] if weights else 1.0, p, f"row of block {number}")

    def step(self) -> None:
        """Find one more direction, by one pass over the rows; none where finished."""
        if self.finished:
            return
        V = np.column_stack([self.V[self.k], self.density.q]) / self.prior[:, None]
        W = np.zeros_like(V)
        for u, (X, _, weights) in zip(self.u, self.rows(), strict=True):
            root = np.sqrt(weights)[:, None]
            U = root * (X @ V)
            U[:, 0] -= self.alphas[-1] * u
            u[:] = U[:, 0]
            W += X.T @ (root * U)
        self.density.step(W[:, 1:] / self.prior[:, None])
        self._turn(W[:, 0])

    def _turn(self, w: np.ndarray) -> None:
        """Normalise u, and make the next v of w = Xᵀu, with u before that."""
        k = len(self.betas)
        beta = float(np.sqrt(sum(u @ u for u in self.u)))
        self.betas.append(beta)
        rounding = EPS * len(w) * float(np.linalg.norm([*self.alphas, *self.betas[1:]]))
        alpha = 0.0
        if beta > rounding:
            for u in self.u:
                u /= beta
            v = w / self.prior / beta
            for _ in range(2):  # once is not enough in floating-point numbers
                v -= (self.V[:k] @ v) @ self.V[:k]
            alpha = float(np.linalg.norm(v))
        if alpha > rounding:
            self.V[k] = v / alpha
        self.alphas.append(alpha if alpha > rounding else 0.0)
        self.finished = alpha <= rounding or k == len(self.V) - 1

    @property
    def k(self) -> int:
        """Steps that have been made."""
        return len(self.betas) - 1

    def spectrum(self) -> Spectrum:
        """Return singular values and directions of B."""
        B = np.zeros((self.k + 1, self.k))
        np.fill_diagonal(B, self.alphas)
        np.fill_diagonal(B[1:], self.betas[1:])
        P, s, Wt = np.linalg.svd(B)
        first = self.betas[0] * P[0]  # Uᵀy: u₁ is y/|y|
        V = (Wt @ self.V[: self.k]).T
        rest, density = float(first[-1] ** 2), self.density.nodes()
        return Spectrum(s, V, first[:-1], rest, self.n_rows, self.log_weights, self.prior, density)

    def error(self, spectrum: Spectrum, strength: float) -> float:
        """Return a bound on the error of the fit for a strength, root mean square over rows, in units of σ."""
        q = ridge(spectrum.s**2, strength)
        last = self.V[self.k - 1] @ (self.prior * spectrum.coefficients(q)) if self.k else 0.0
        residual = self.alphas[-1] * self.betas[-1] * abs(last)
        noise = max(float(spectrum.rest + spectrum.d**2 @ q), spectrum.rounding)
        return float(residual / np.sqrt(strength * noise))
