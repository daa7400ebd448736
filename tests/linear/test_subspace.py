"""Directions of a sample of rows."""

from __future__ import annotations

import numpy as np

from multiace.linear.solvers import Ridge
from multiace.linear.subspace import Subspace
from multiace.linear.system import System

N, P = 30, 80
PRIOR = np.linspace(0.5, 3.0, P)


def rows(n: int = N, smallest: float = 1e-4) -> np.ndarray:
    """Rows whose columns are of very different size, three of them sums of others."""
    random = np.random.default_rng(0)
    X = random.normal(size=(n, P)) * np.geomspace(1.0, smallest, P)
    X[-3:] = random.normal(size=(3, n - 3)) @ X[:-3]
    return X


def test_directions_are_orthonormal_and_span_the_rows() -> None:
    X = rows()
    subspace = Subspace.of_rows(X, PRIOR)
    assert subspace.V.shape == (P, N - 3)
    np.testing.assert_allclose(subspace.V.T @ subspace.V, np.eye(N - 3), atol=1e-12)
    scaled = X / PRIOR
    np.testing.assert_allclose(scaled @ subspace.V @ subspace.V.T, scaled, atol=1e-9)


def test_ridge_in_the_span_of_all_rows_is_ridge() -> None:
    X = rows()
    y = X @ np.random.default_rng(1).normal(size=P)
    subspace = Subspace.of_rows(X, PRIOR)
    whole, reduced = System(P), System(N - 3)
    whole.add(X, y)
    reduced.add(subspace.project(X), y)
    expected = Ridge(prior=PRIOR, strength=1e-3).fit(whole)
    found = Ridge(strength=1e-3).fit(reduced)
    np.testing.assert_allclose(subspace.coefficients(found.coef_), expected.coef_, atol=1e-8)
    new = np.random.default_rng(2).normal(size=(4, P))
    draws = subspace.draw(
        found.draw(4000, np.random.default_rng(3)), found.posterior_.outside, np.random.default_rng(4)
    )
    np.testing.assert_allclose((draws @ new.T).std(axis=0), expected.variance(new) ** 0.5, rtol=0.06)


def test_rows_of_very_different_size_keep_their_directions() -> None:
    subspace = Subspace.of_rows(rows(smallest=1e-9) * np.geomspace(1.0, 1e-5, N)[:, None], np.ones(P))
    k = subspace.V.shape[1]
    np.testing.assert_allclose(subspace.V.T @ subspace.V, np.eye(k), atol=1e-10)
