"""Solvers against direct ones, on the same rows."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse.linalg
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from multiace.errors import InputError
from multiace.linear import SOLVER_NAMES
from multiace.linear.folds import Folds
from multiace.linear.solvers import (
    ARD,
    LSQR,
    SOLVERS,
    BayesianRidge,
    LeastSquares,
    Ridge,
    TruncatedSVD,
)
from multiace.linear.spectrum import Spectrum, log_evidence
from multiace.linear.system import System

N, P = 120, 20
PRIOR = np.linspace(0.5, 3.0, P)
FORMS = pytest.mark.parametrize("form", ["qr", "gram"])


def problem(n: int = N, p: int = P, noise: float = 0.3, seed: int = 0):
    """Rows, targets and weights; columns of very different size."""
    random = np.random.default_rng(seed)
    X = random.normal(size=(n, p)) * np.geomspace(1, 100, p)
    c = random.normal(size=p) / np.geomspace(1, 100, p)
    weights = random.uniform(0.5, 2.0, n)
    return X, X @ c + noise * random.normal(size=n) / np.sqrt(weights), weights


def system_of(X, y, weights=1.0, form: str = "qr") -> System:
    system = System(X.shape[1], form)
    system.add(X, y, weights)
    return system


def weighted(X, y, weights):
    return X * np.sqrt(weights)[:, None], y * np.sqrt(weights)


def covariance_of_targets(X, weights, σ2: float, λ: float) -> np.ndarray:
    """Cov(y) of y = Xc + ε as a matrix of all rows."""
    return σ2 * (np.diag(1 / weights) + (X / PRIOR**2) @ X.T / λ)


@FORMS
def test_least_squares_is_numpys(form):
    X, y, w = problem()
    fit = LeastSquares().fit(system_of(X, y, w, form))
    A, b = weighted(X, y, w)
    c, residual = np.linalg.lstsq(A, b, rcond=None)[:2]
    np.testing.assert_allclose(fit.coef_, c, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(fit.noise_variance_, residual / (N - P), rtol=1e-8)
    np.testing.assert_allclose(
        fit.covariance(), fit.noise_variance_ * np.linalg.inv(A.T @ A), rtol=1e-7, atol=1e-12
    )
    np.testing.assert_allclose(fit.predict(X), X @ c, rtol=1e-8, atol=1e-10)
    assert fit.dof_ == P
    assert fit.log_evidence_ is None


@FORMS
def test_ridge_is_the_direct_solve_with_its_prior(form):
    X, y, w = problem()
    fit = Ridge(PRIOR, strength=7.0).fit(system_of(X, y, w, form))
    A, b = weighted(X, y, w)
    H = A.T @ A + 7.0 * np.diag(PRIOR**2)
    np.testing.assert_allclose(fit.coef_, np.linalg.solve(H, A.T @ b), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(fit.dof_, np.trace(np.linalg.solve(H, A.T @ A)), rtol=1e-9)
    np.testing.assert_allclose(fit.rmse_, np.sqrt(np.mean((b - A @ fit.coef_) ** 2)), rtol=1e-9)
    np.testing.assert_allclose(
        fit.covariance(), fit.noise_variance_ * np.linalg.inv(H), rtol=1e-7, atol=1e-13
    )
    np.testing.assert_allclose(fit.variance(X), np.diag(X @ fit.covariance() @ X.T), rtol=1e-8)


@FORMS
@pytest.mark.parametrize("n", [N, 12])
def test_evidence_is_the_density_of_all_targets(form, n):
    X, y, w = problem(n)
    spectrum = Spectrum.of(system_of(X, y, w, form), PRIOR)
    for λ in (1e-3, 1.0, 50.0):

        def negative(log_σ2, λ=λ):
            cov = covariance_of_targets(X, w, np.exp(log_σ2), λ)
            return -multivariate_normal.logpdf(y, np.zeros(n), cov)

        dense = -scipy.optimize.minimize_scalar(negative, bounds=(-15, 15), method="bounded").fun
        np.testing.assert_allclose(log_evidence(spectrum, λ), dense, rtol=1e-7)


@FORMS
def test_bayesian_ridge_is_mackays_fixed_point(form):
    X, y, w = problem(noise=3.0)
    fit = BayesianRidge(PRIOR).fit(system_of(X, y, w, form))
    A, b = weighted(X, y, w)
    alpha = fit.strength_ / fit.noise_variance_
    np.testing.assert_allclose(alpha, fit.dof_ / np.sum((PRIOR * fit.coef_) ** 2), rtol=1e-4)
    np.testing.assert_allclose(
        fit.noise_variance_, np.sum((b - A @ fit.coef_) ** 2) / (N - fit.dof_), rtol=1e-8
    )
    cov = covariance_of_targets(X, w, fit.noise_variance_, fit.strength_)
    np.testing.assert_allclose(fit.log_evidence_, multivariate_normal.logpdf(y, np.zeros(N), cov), rtol=1e-6)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), column=st.floats(1e-3, 1e3), weight=st.floats(1e-4, 1e4))
def test_units_of_columns_and_of_weights_do_not_matter(seed, column, weight):
    X, y, w = problem(n=40, noise=3.0, seed=seed)
    fit = BayesianRidge(PRIOR).fit(system_of(X, y, w))
    scale = np.r_[column, np.ones(P - 1)]
    other = BayesianRidge(PRIOR * scale).fit(system_of(X * scale, y, weight * w))
    np.testing.assert_allclose(other.coef_ * scale, fit.coef_, rtol=1e-4, atol=1e-6 * np.abs(fit.coef_).max())
    np.testing.assert_allclose(other.variance(X * scale), fit.variance(X), rtol=1e-4)
    np.testing.assert_allclose(other.log_evidence_, fit.log_evidence_, rtol=1e-6)


def test_noise_is_found_and_errors_lie_within_the_bars():
    X, y, w = problem(n=400, noise=0.5, seed=3)
    fit = BayesianRidge(np.geomspace(1, 100, P)).fit(system_of(X[:300], y[:300], w[:300]))
    assert 0.25 * 0.67 < fit.noise_variance_ < 0.25 * 1.33  # four standard errors
    total = fit.variance(X[300:]) + fit.noise_variance_ / w[300:]
    inside = np.mean(np.abs(y[300:] - fit.predict(X[300:])) < np.sqrt(total))
    assert 0.55 < inside < 0.8


def test_fewer_rows_than_coefficients_leave_the_prior_where_nothing_is_seen():
    X, y, w = problem(n=8)
    fit = BayesianRidge(PRIOR).fit(system_of(X, y, w))
    A, _ = weighted(X, y, w)
    H = A.T @ A + fit.strength_ * np.diag(PRIOR**2)
    np.testing.assert_allclose(
        fit.covariance(), fit.noise_variance_ * np.linalg.inv(H), rtol=1e-6, atol=1e-12
    )
    random = np.random.default_rng(1)
    probe = random.normal(size=(5, P))
    np.testing.assert_allclose(fit.variance(probe), np.diag(probe @ fit.covariance() @ probe.T), rtol=1e-7)


@pytest.mark.parametrize("name", ["least_squares", "bayesian_ridge", "ard", "truncated_svd"])
@pytest.mark.parametrize("n", [N, 24])
def test_committees_have_mean_and_covariance_of_the_posterior(name, n):
    X, y, w = problem(n=n, noise=3.0)
    fit = SOLVERS[name]().fit(system_of(X, y, w))
    draws = fit.draw(20_000, np.random.default_rng(0))
    values = draws @ X[:6].T
    np.testing.assert_allclose(values.std(axis=0), np.sqrt(fit.variance(X[:6])), rtol=0.03)
    np.testing.assert_allclose(values.mean(axis=0), fit.predict(X[:6]), atol=0.05 * values.std(axis=0).max())
    expected = X[:6] @ fit.covariance() @ X[:6].T
    np.testing.assert_allclose(np.cov(values.T), expected, atol=0.04 * expected.max())


def test_truncated_svd_is_numpys_with_the_same_cut():
    X, y, _ = problem()
    fit = TruncatedSVD(strength=100.0).fit(system_of(X, y))
    s = np.linalg.svd(X, compute_uv=False)
    kept = int(np.sum(s**2 >= 100.0))
    assert 0 < kept < P or fit.dof_ == P
    np.testing.assert_allclose(fit.coef_, np.linalg.pinv(X, rcond=10.0 / s[0]) @ y, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("solver", [TruncatedSVD, Ridge])
def test_generalised_cross_validation_takes_the_lowest_score(solver):
    X, y, _ = problem(noise=20.0)
    fit = solver(criterion="gcv").fit(system_of(X, y))
    H = [
        X @ np.linalg.solve(X.T @ X + λ * np.eye(P), X.T)
        if solver is Ridge
        else X @ np.linalg.pinv(X, rcond=np.sqrt(λ) / np.linalg.norm(X, 2))
        for λ in fit.scores_[0]
    ]
    dense = [N * np.sum((y - h @ y) ** 2) / (N - np.trace(h)) ** 2 for h in H]
    np.testing.assert_allclose(fit.scores_[1], dense, rtol=1e-6)
    assert fit.strength_ == fit.scores_[0][np.argmin(dense)]


@FORMS
@pytest.mark.parametrize("solver", [TruncatedSVD, Ridge])
def test_cross_validation_is_fitting_again_without_each_part(form, solver):
    X, y, w = problem(noise=5.0)
    frames = np.repeat(np.arange(N // 4), 4)
    folds = Folds(P, 3, form)
    folds.add(X[:50], y[:50], frames[:50], w[:50])
    folds.add(X[50:], y[50:], frames[50:], w[50:])
    fit = solver(PRIOR).fit(folds)
    assert fit.criterion_ == "cv"
    for k in (0, 5, 11):
        λ, score = fit.scores_[:, k]
        errors = 0.0
        for part in range(3):
            out = frames % 3 == part
            again = solver(PRIOR, strength=λ).fit(system_of(X[~out], y[~out], w[~out]))
            errors += np.sum(w[out] * (y[out] - again.predict(X[out])) ** 2)
        np.testing.assert_allclose(score, errors / N, rtol=1e-6)
    whole = solver(PRIOR, strength=fit.strength_).fit(system_of(X, y, w))
    np.testing.assert_allclose(fit.coef_, whole.coef_, rtol=1e-6, atol=1e-10)


def sparse_problem(n: int = 150, p: int = 40):
    random = np.random.default_rng(5)
    X = random.normal(size=(n, p))
    c = np.zeros(p)
    c[::8] = [3.0, -2.0, 1.5, -1.0, 2.5]
    return X, X @ c + 0.1 * random.normal(size=n), c


@FORMS
def test_ard_keeps_what_matters(form):
    X, y, c = sparse_problem()
    fit = ARD().fit(system_of(X, y, form=form))
    kept = np.flatnonzero(np.isfinite(fit.lambda_))
    assert fit.converged_
    assert set(np.flatnonzero(c)) <= set(kept)
    assert len(kept) < 25
    np.testing.assert_allclose(fit.coef_[c != 0], c[c != 0], atol=0.05)
    assert fit.log_evidence_ > BayesianRidge().fit(system_of(X, y, form=form)).log_evidence_ + 20


def test_ard_is_its_fixed_point_and_its_evidence_the_density_of_the_targets():
    X, y, _ = sparse_problem()
    fit = ARD(tol=1e-9, max_iter=2000).fit(system_of(X, y))
    kept = np.isfinite(fit.lambda_)
    A, λ, σ2 = X[:, kept], fit.lambda_[kept], fit.noise_variance_
    Σ = σ2 * np.linalg.inv(A.T @ A + np.diag(λ))
    np.testing.assert_allclose(fit.coef_[kept], Σ @ A.T @ y / σ2, rtol=1e-7)
    np.testing.assert_allclose(fit.covariance()[np.ix_(kept, kept)], Σ, rtol=1e-6, atol=1e-12)
    strong = λ < 1e2  # λ of columns that are about to go out still grow
    g = 1 - λ * np.diag(Σ) / σ2
    np.testing.assert_allclose(λ[strong], (g * σ2 / fit.coef_[kept] ** 2)[strong], rtol=1e-3)
    dense = multivariate_normal.logpdf(y, np.zeros(len(y)), σ2 * (np.eye(len(y)) + (A / λ) @ A.T))
    np.testing.assert_allclose(fit.log_evidence_, dense, rtol=1e-6)


def test_ard_of_noise_is_nothing():
    random = np.random.default_rng(0)
    X, y = random.normal(size=(200, 10)), random.normal(size=200)
    fit = ARD().fit(system_of(X, 1e-3 * y))
    assert np.abs(fit.predict(X)).max() < 1e-3


def blocks_of(X, y, w, size: int = 50):
    return lambda: ((X[i : i + size], y[i : i + size], w[i : i + size]) for i in range(0, len(y), size))


def test_lsqr_is_scipys_and_the_direct_solve():
    X, y, w = problem(n=300)
    fit = LSQR(PRIOR, strength=7.0, tol=1e-9).fit(blocks_of(X, y, w))
    direct = Ridge(PRIOR, strength=7.0).fit(system_of(X, y, w))
    A, b = weighted(X, y, w)
    other = scipy.sparse.linalg.lsqr(A / PRIOR, b, damp=np.sqrt(7.0), atol=1e-14, btol=1e-14)[0] / PRIOR
    np.testing.assert_allclose(fit.coef_, direct.coef_, rtol=1e-7, atol=1e-10)
    np.testing.assert_allclose(fit.coef_, other, rtol=1e-6, atol=1e-9)


def test_error_bars_of_lsqr_are_those_of_the_direct_solve():
    X, y, w = problem(noise=3.0)
    fit = LSQR(PRIOR, committee=1000).fit(blocks_of(X, y, w))
    direct = Ridge(PRIOR, strength=fit.strength_).fit(system_of(X, y, w))
    np.testing.assert_allclose(fit.variance(X), direct.variance(X), rtol=0.3)
    assert abs(fit.variance(X).mean() / direct.variance(X).mean() - 1) < 0.05


def test_lsqr_chooses_its_strength_and_stops_within_the_noise():
    X, y, w = problem(n=300, p=60, noise=1.0)
    prior = np.geomspace(1, 100, 60)
    fit = LSQR(prior).fit(blocks_of(X, y, w))
    direct = BayesianRidge(prior).fit(system_of(X, y, w))
    difference = np.sqrt(w) * (fit.predict(X) - direct.predict(X))
    assert fit.error_ <= 0.01
    assert fit.n_iter_ < 60
    assert np.sqrt(np.mean(difference**2)) < 0.02
    np.testing.assert_allclose(fit.noise_variance_, direct.noise_variance_, rtol=0.05)
    assert not LSQR().fit(blocks_of(X, 0 * y, w)).coef_.any()
    stopped = LSQR(prior, max_iter=5).fit(blocks_of(X, y, w))
    assert "stopped after 5 steps" in stopped.notes_[-1]


@pytest.mark.parametrize("name", sorted(SOLVERS))
def test_an_element_without_data_has_the_coefficient_0_and_a_note(name):
    X, y, w = problem(noise=3.0)
    X[:, [4, 9]] = 0.0
    data = blocks_of(X, y, w) if name == "lsqr" else system_of(X, y, w)
    prior = {} if name == "least_squares" else {"prior": np.geomspace(1, 100, P)}
    fit = SOLVERS[name](**prior).fit(data)
    assert fit.coef_[4] == fit.coef_[9] == 0
    assert "2 columns are zero in all rows (4, 9)" in fit.notes_[0]
    probe = np.zeros((2, P))
    probe[0, 4], probe[1, 3] = 1.0, 1.0
    unknown, known = fit.variance(probe)
    assert unknown > 2 * known


@pytest.mark.parametrize("name", sorted(set(SOLVERS) - {"least_squares"}))
def test_targets_of_zero_and_dependent_columns_are_solved(name):
    X, y, w = problem(noise=3.0)
    X[:, 3] = X[:, 2]
    for target in (0 * y, y):
        fit = SOLVERS[name]().fit(system_of(X, target, w))
        assert np.isfinite(fit.coef_).all()
        assert np.isfinite(fit.variance(X)).all()
    assert abs(fit.coef_[2] - fit.coef_[3]) < 1e-6 or name == "ard"


def test_least_squares_wants_more_rows_than_coefficients():
    with pytest.raises(InputError, match=r"20 rows do not determine 20 coefficients .* at least 21"):
        LeastSquares().fit(system_of(*problem(n=20)))


@FORMS
def test_least_squares_says_which_column_depends_on_others(form):
    X, y, w = problem()
    X[:, 7] = X[:, 2] - 3 * X[:, 11]
    with pytest.raises(InputError, match=r"20 columns have the rank 19: column (2|7|11) is a sum of others"):
        LeastSquares().fit(system_of(X, y, w, form))


def test_duplicated_rows_count_twice():
    X, y, w = problem()
    twice = LeastSquares().fit(system_of(np.vstack([X, X]), np.hstack([y, y]), np.hstack([w, w])))
    doubled = LeastSquares().fit(system_of(X, y, 2 * w))
    np.testing.assert_allclose(twice.coef_, doubled.coef_, rtol=1e-10)


@pytest.mark.parametrize(
    ("solve", "sentence"),
    [
        (lambda s: Ridge().fit(System(3)), "there are no rows to fit"),
        (lambda s: LSQR().fit(lambda: iter(())), "there are no rows to fit"),
        (lambda s: Ridge(np.ones(4)).fit(s), r"the prior has the shape \(4,\)"),
        (lambda s: Ridge(np.r_[1.0, 0.0, 1.0]).fit(s), "the prior of column 1 is 0"),
        (lambda s: Ridge(strength=-1.0), "the strength of a penalty is -1.0"),
        (lambda s: BayesianRidge(criterion="cv"), "'cv' is not one of evidence"),
        (lambda s: Ridge(criterion="cv").fit(s), "cross-validation needs rows in parts"),
        (lambda s: ARD(threshold=0.5), "the threshold of ard is 0.5"),
    ],
)
def test_bad_input_is_a_sentence(solve, sentence):
    system = System(3)
    system.add(np.eye(3), np.ones(3))
    with pytest.raises(InputError, match=sentence):
        solve(system)


def test_run_files_know_the_names_of_all_solvers() -> None:
    assert tuple(SOLVERS) == SOLVER_NAMES
