"""Structures left out: the shortcut is a fit without them, and error bars follow from it."""

from __future__ import annotations

import numpy as np
import pytest

from multiace.linear.left_out import calibrated, left_out
from multiace.linear.ridge import Ridge
from multiace.linear.system import System


def test_left_out_rows_are_those_of_a_fit_without_them():
    rng = np.random.default_rng(0)
    X, prior = rng.normal(size=(60, 12)), rng.uniform(0.5, 2.0, size=12)
    y, weights = X @ rng.normal(size=12) + 0.3 * rng.normal(size=60), rng.uniform(0.5, 3.0, size=60)
    own, rest = slice(20, 27), np.r_[0:20, 27:60]
    systems = []
    for rows in (slice(None), rest):
        system = System(12)
        system.add(X[rows], y[rows], weights[rows])
        systems.append(system)
    fit, without = (Ridge(prior=prior, strength=0.7).fit(system) for system in systems)
    noise = fit.noise_variance_ / weights[own]
    errors, variances = left_out(fit.posterior_, X[own], fit.predict(X[own]) - y[own], noise)
    np.testing.assert_allclose(errors, without.predict(X[own]) - y[own], rtol=1e-9)
    # both fits estimate the noise; the shortcut has that of all rows
    expected = without.variance(X[own]) * fit.noise_variance_ / without.noise_variance_
    np.testing.assert_allclose(variances, expected, rtol=1e-9)


@pytest.mark.parametrize(("scale", "noise"), [(1.0, (0.3, 2.0)), (4.0, (0.01, 0.5)), (0.5, (1.0, 1.0))])
def test_scale_and_noise_are_found_again(scale, noise):
    rng = np.random.default_rng(1)
    variances = [rng.gamma(1.0, size=20_000), 4.0 * rng.gamma(1.0, size=4_000)]
    errors = [
        np.sqrt(scale**2 * v + s**2) * rng.normal(size=len(v)) for v, s in zip(variances, noise, strict=True)
    ]
    found_scale, found_noise = calibrated(errors, variances)
    assert found_scale == pytest.approx(scale, rel=0.05, abs=0.05)
    np.testing.assert_allclose(found_noise, noise, rtol=0.1, atol=0.1 * scale)


def test_nothing_to_calibrate_on_changes_nothing():
    assert calibrated([], []) == (1.0, [])
