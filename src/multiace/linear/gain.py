"""What labels of structures would tell: information gains, and the structures that tell most together."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush

import numpy as np
import scipy.linalg

from multiace.linear.subspace import Subspace
from multiace.linear.system import System

__all__ = ["Knowledge", "choose"]

Whitened = Callable[[int], np.ndarray]
"""Gives the whitened rows of a structure, (n, q)."""


class Knowledge:
    r"""What the data of a fit leave unknown: the precision :math:`H = X^T w X + \lambda \Gamma^2` of its coefficients.

    Rows of new labels are whitened, :math:`Y = \sqrt{w} X H^{-1/2}`, so that :math:`Y_s Y_t^T` is what the labels of
    two structures have in common, in units of their noise. Columns that the data have not seen, and all but the
    directions of a :class:`~multiace.linear.subspace.Subspace`, have the precision of their prior.

    Args:
        system: The rows of the fit.
        strength: λ.
        prior: Γ of all columns, (p,).
        known: Which of the columns the data have seen, (p,).
        subspace: Directions that were solved for, in place of these columns.
    """

    def __init__(
        self,
        system: System,
        strength: float,
        prior: np.ndarray,
        known: np.ndarray,
        subspace: Subspace | None = None,
    ) -> None:
        self.prior, self.known, self.subspace, self.scale = prior, known, subspace, strength**0.5
        k = system.n_columns
        Γ = prior[known] if subspace is None else np.ones(k)
        R = np.triu(system.compressed()[:k, :k])
        self.R = scipy.linalg.qr(np.vstack([R, np.diag(self.scale * Γ)]), mode="r", overwrite_a=True)[0][:k]

    def whiten(self, X: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Return Y, (n, q), of rows X (n, p) with their weights (n,)."""
        X = np.sqrt(weights)[:, None] * X
        seen, beyond = X[:, self.known], X[:, ~self.known] / self.prior[~self.known]
        if self.subspace is not None:
            a = self.subspace.project(seen)
            rest = seen / self.subspace.prior - a @ self.subspace.V.T
            seen, beyond = a, np.hstack([rest, beyond])
        of_seen = scipy.linalg.solve_triangular(self.R, seen.T, trans="T").T
        return np.hstack([of_seen, beyond / self.scale])


def choose(
    whitened: Whitened, size: int, number: int, show: Callable[[int, int], None] = lambda done, total: None
) -> list[tuple[int, float]]:
    r"""Choose structures one after another, each with the largest information gain of its labels.

    .. math:: \tfrac12 \log \det (1 + Y M^{-1} Y^T), \qquad M = 1 + \sum_{t\;\text{chosen}} Y_t^T Y_t

    is half the logarithm by which the determinant of the precision of the coefficients grows (D-optimality); labels
    need not be known. Gains fall as others are chosen, so that what a structure has gained before is a bound, and only
    structures whose bound is the largest are looked at again (Minoux, 1978): the result is that of looking at all.

    Args:
        whitened: Y of each structure, as often as it is looked at.
        size: Number of structures.
        number: How many are chosen, at most ``size``.
        show: Called with how many are chosen, and how many are to be.

    Returns:
        The structures in the order of their choice, with their gains [nats]. The sum of gains is at least 1 - 1/e of
        that of the best ``number`` structures.

    Source: Lindley, Ann. Math. Stat. 27, 986 (1956); Krause, Singh, Guestrin, JMLR 9, 235 (2008).
    """
    bounds = [(-gain(whitened(n)), n, 0) for n in range(size)]
    heapify(bounds)
    chosen: list[tuple[int, float]] = []
    W: np.ndarray | None = None  # M⁻¹ = 1 - WᵀW
    while len(chosen) < number:
        bound, n, looked = heappop(bounds)
        Y = whitened(n)
        if looked < len(chosen):
            heappush(bounds, (-gain(Y, W), n, len(chosen)))
            continue
        left = Y if W is None else Y - (Y @ W.T) @ W  # Y M⁻¹
        L = np.linalg.cholesky(np.eye(len(Y)) + left @ Y.T)
        told = scipy.linalg.solve_triangular(L, left, lower=True)
        W = told if W is None else np.vstack([W, told])
        chosen.append((n, -bound))
        show(len(chosen), number)
    return chosen


def gain(Y: np.ndarray, W: np.ndarray | None = None) -> float:
    """½ log det(1 + Y (1 - WᵀW) Yᵀ)."""
    precision = np.eye(len(Y)) + Y @ Y.T
    if W is not None:
        common = Y @ W.T
        precision -= common @ common.T
    return 0.5 * float(np.linalg.slogdet(precision)[1])
