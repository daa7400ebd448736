"""Intervals: against scipy's test of pairs, and their coverage."""

import math

import numpy as np
import pytest
from scipy import stats

from multiace.study.statistics import mean_interval, paired_difference


def test_a_difference_is_the_paired_test_of_scipy():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=6), rng.normal(size=6) + 0.5
    found = paired_difference(dict(enumerate(a)), dict(enumerate(b)))
    expected = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.mean == pytest.approx(a.mean() - b.mean())
    assert found.deviation == pytest.approx((a - b).std(ddof=1))


def test_only_seeds_that_both_have_are_compared():
    found = paired_difference({1: 3.0, 2: 4.0, 5: 100.0}, {1: 1.0, 2: 2.0, 3: 50.0})
    assert (found.mean, found.n) == (2.0, 2)
    assert paired_difference({1: 1.0}, {2: 1.0}) is None


def test_one_run_claims_nothing():
    found = mean_interval([3.0])
    assert (found.low, found.high) == (-math.inf, math.inf)
    assert math.isnan(found.deviation)
    assert not found.excludes_zero


def test_intervals_cover_the_mean_as_often_as_they_say():
    rng = np.random.default_rng(1)
    found = [mean_interval(rng.normal(2.0, 3.0, size=3)) for _ in range(4000)]
    covered = np.mean([interval.low < 2.0 < interval.high for interval in found])
    assert abs(covered - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 4000)
