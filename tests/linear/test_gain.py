"""Information gains are those of the posterior with the labels, and the choice is that of the greedy definition."""

from __future__ import annotations

import numpy as np
import pytest

from multiace.linear.gain import Knowledge, choose
from multiace.linear.subspace import Subspace
from multiace.linear.system import System

P, SEEN = 9, np.array([True] * 6 + [False] * 3)
RNG = np.random.default_rng(0)
DATA, POOL = RNG.normal(size=(20, P)) * SEEN, [RNG.normal(size=(n % 3 + 1, P)) for n in range(12)]
PRIOR, STRENGTH = RNG.uniform(0.5, 2.0, size=P), 0.7
WEIGHTS = [RNG.uniform(0.5, 3.0, size=len(X)) for X in POOL]


def by_definition(number: int) -> list[tuple[int, float]]:
    """Log determinants of whole precision matrices."""
    H = DATA.T @ DATA + STRENGTH * np.diag(PRIOR**2)
    chosen: list[tuple[int, float]] = []
    for _ in range(number):
        before = np.linalg.slogdet(H)[1]
        with_each = [H + (X.T * w) @ X for X, w in zip(POOL, WEIGHTS, strict=True)]
        gains = [0.5 * (np.linalg.slogdet(of_one)[1] - before) for of_one in with_each]
        best = max((n for n in range(len(POOL)) if n not in dict(chosen)), key=gains.__getitem__)
        chosen.append((best, gains[best]))
        H = with_each[best]
    return chosen


def knowledge(whole: bool) -> Knowledge:
    if whole:
        system = System(int(SEEN.sum()))
        system.add(DATA[:, SEEN], np.zeros(len(DATA)))
        return Knowledge(system, STRENGTH, PRIOR, SEEN)
    subspace = Subspace.of_rows(DATA[:, SEEN].copy(), PRIOR[SEEN])
    system = System(subspace.V.shape[1])
    system.add(subspace.project(DATA[:, SEEN]), np.zeros(len(DATA)))
    return Knowledge(system, STRENGTH, PRIOR, SEEN, subspace)


@pytest.mark.parametrize("whole", [True, False])
def test_the_choice_is_that_of_log_determinants(whole: bool) -> None:
    of, looked = knowledge(whole), []

    def whitened(n: int) -> np.ndarray:
        looked.append(n)
        return of.whiten(POOL[n], WEIGHTS[n])

    found, expected = choose(whitened, len(POOL), 8), by_definition(8)
    assert [n for n, _ in found] == [n for n, _ in expected]
    np.testing.assert_allclose([gain for _, gain in found], [gain for _, gain in expected], rtol=1e-9)
    assert len(looked) < 12 + 12 * 8


def test_few_directions_leave_the_rest_to_the_prior() -> None:
    """What is known in three directions of six: as if the data were their shares in these."""
    subspace = Subspace.of_rows(DATA[:3, SEEN].copy(), PRIOR[SEEN])
    system = System(3)
    system.add(subspace.project(DATA[:, SEEN]), np.zeros(len(DATA)))
    of = Knowledge(system, STRENGTH, PRIOR, SEEN, subspace)
    shares = subspace.project(DATA[:, SEEN]) @ subspace.V.T * PRIOR[SEEN]
    H = STRENGTH * np.diag(PRIOR**2)
    H[np.ix_(SEEN, SEEN)] += shares.T @ shares
    for X, w in zip(POOL, WEIGHTS, strict=True):
        Y = of.whiten(X, w)
        X = np.sqrt(w)[:, None] * X
        np.testing.assert_allclose(Y @ Y.T, X @ np.linalg.inv(H) @ X.T, rtol=1e-9, atol=1e-12)
