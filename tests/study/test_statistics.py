"""Intervals: against scipy's test of pairs, and how often they hold the truth."""

import math

import numpy as np
import pytest
from scipy import stats

from multiace.study.bootstrap import resampled_means
from multiace.study.measures import Measure, Quantity
from multiace.study.statistics import mean_interval

NORMAL = stats.norm.ppf((np.arange(200) + 0.5) / 200)
NORMAL /= NORMAL.std(ddof=1)

FORCES = Quantity("set", "test", None, "forces RMSE", "meV/Å")


def of(**points):
    """A measure without structures: values of each point, by seed."""
    return Measure(FORCES, points)


def test_a_difference_is_the_paired_test_of_scipy():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=6), rng.normal(size=6) + 0.5
    found = of(a=dict(enumerate(a)), b=dict(enumerate(b))).difference("a", "b")
    expected = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.mean == pytest.approx(a.mean() - b.mean())
    assert found.deviation == pytest.approx((a - b).std(ddof=1))


def test_only_seeds_that_both_have_are_compared():
    found = of(a={1: 3.0, 2: 4.0, 5: 100.0}, b={1: 1.0, 2: 2.0, 3: 50.0}).difference("a", "b")
    assert (found.mean, found.n) == (2.0, 2)
    assert of(a={1: 1.0}, b={2: 1.0}).difference("a", "b") is None
    assert of(a={1: 1.0}).difference("a", "c") is None
    assert of(a={1: 1.0}).difference("a", "a") is None


def test_one_run_claims_nothing():
    found = mean_interval([3.0])
    assert (found.low, found.high) == (-math.inf, math.inf)
    assert math.isnan(found.deviation)
    assert not found.excludes_zero


def test_one_run_claims_nothing_however_many_structures_there_are():
    found = mean_interval([3.0], resampled=np.full(100, 3.0), structures=50)
    assert not found.excludes_zero


def test_equal_runs_have_an_interval_without_width():
    found = mean_interval([2.0, 2.0])
    assert (found.low, found.high) == (2.0, 2.0)


def test_intervals_cover_the_mean_as_often_as_they_say():
    rng = np.random.default_rng(1)
    found = [mean_interval(rng.normal(2.0, 3.0, size=3)) for _ in range(4000)]
    covered = np.mean([interval.low < 2.0 < interval.high for interval in found])
    assert abs(covered - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 4000)


def test_without_spread_over_seeds_the_interval_is_that_of_the_structures():
    rng = np.random.default_rng(2)
    resampled = rng.normal(5.0, 0.3, size=2000)
    found = mean_interval([5.0, 5.0, 5.0], resampled, structures=40)
    half = stats.t.ppf(0.975, 39) * resampled.std(ddof=1) * math.sqrt(40 / 39)
    assert (found.low, found.high) == pytest.approx((5.0 - half, 5.0 + half))


def test_degrees_of_freedom_are_welchs():
    """Two samples of which the difference of means is asked: the formula is the same."""
    x, v, structures = np.array([1.0, 2.0, 4.0]), 0.4, 12
    resampled = np.array([-1.0, 1.0]) * math.sqrt(v / 2 * 11 / 12)
    u = x.var(ddof=1) / 3
    freedom = (u + v) ** 2 / (u**2 / 2 + v**2 / 11)
    found = mean_interval(x, resampled, structures)
    assert found.high - found.mean == pytest.approx(stats.t.ppf(0.975, freedom) * math.sqrt(u + v))


def test_resampled_means_have_the_standard_error_of_a_mean():
    rng = np.random.default_rng(3)
    sums = rng.gamma(2.0, size=(4, 50))
    found = resampled_means(sums, np.ones(50), resamples=4000)
    assert found.shape == (4, 4000)
    expected = sums.std(axis=1) / math.sqrt(50)
    np.testing.assert_allclose(found.std(axis=1), expected, rtol=0.06)
    np.testing.assert_allclose(found.mean(axis=1), sums.mean(axis=1), rtol=0.01)


def test_resamples_are_the_same_for_all_runs_and_every_time():
    sums = np.random.default_rng(4).gamma(2.0, size=(1, 30))
    twice = resampled_means(np.concatenate([sums, 2 * sums]), np.ones(30))
    np.testing.assert_allclose(twice[1], 2 * twice[0])
    np.testing.assert_allclose(resampled_means(sums, np.ones(30))[0], twice[0])


def test_resamples_do_not_depend_on_how_they_are_divided(monkeypatch):
    sums = np.random.default_rng(5).gamma(2.0, size=(2, 30))
    whole = resampled_means(sums, np.ones(30), resamples=100)
    monkeypatch.setattr("multiace.study.bootstrap.LARGEST", 30 * 7)
    np.testing.assert_allclose(resampled_means(sums, np.ones(30), resamples=100), whole)


def test_a_structure_counts_by_its_components():
    sums, counts = np.array([[1.0, 30.0]]), np.array([1.0, 10.0])
    found = set(np.round(resampled_means(sums, counts, resamples=50)[0], 6))
    assert found == {1.0, 3.0, round(31 / 11, 6)}


def study(rng, shift=0.0, n=3, structures=40):
    """Two points whose errors share what seeds and structures do; the true difference is that of ``shift``."""
    hardness = rng.normal(scale=1.0, size=structures)
    of_seed = rng.normal(scale=0.3, size=n)
    values, resampled, sums = {}, {}, []
    for mean in (10.0 + shift, 10.0):
        own = rng.normal(scale=0.1, size=n)[:, None] + rng.normal(scale=0.2, size=structures)
        sums.append(mean + of_seed[:, None] + hardness + own)
    means = resampled_means(np.concatenate(sums), np.ones(structures), resamples=200)
    for k, point in enumerate(("a", "b")):
        values[point] = dict(enumerate(sums[k].mean(axis=1)))
        resampled[point] = dict(enumerate(means[k * n : (k + 1) * n]))
    return Measure(FORCES, values, resampled, structures)


def test_intervals_over_seeds_and_structures_cover_as_often_as_they_say():
    rng = np.random.default_rng(6)
    found = [study(rng, 0.5).difference("a", "b") for _ in range(400)]
    covered = np.mean([interval.low < 0.5 < interval.high for interval in found])
    assert 0.92 < covered < 0.98


@pytest.mark.parametrize(("n", "least"), [(2, 0.86), (3, 0.90), (5, 0.92)])
def test_few_seeds_that_hide_their_spread_cover_less_often_as_the_docs_say(n, least):
    """The variance of the structures is a tenth of that of the seeds, where intervals cover least."""
    rng, covered = np.random.default_rng(10), 0
    for _ in range(3000):
        seeds, structures = rng.normal(size=n), rng.normal(scale=(0.1 / n * 40) ** 0.5, size=40)
        resampled = structures.mean() + structures.std() / 40**0.5 * NORMAL
        found = mean_interval(seeds + structures.mean(), resampled, 40)
        covered += found.low < 0 < found.high
    assert least < covered / 3000 < 0.96


def test_rounding_is_no_difference():
    """(3 + 1 + 1) / 3 - (1 + 1 + 3) / 3, term by term."""
    counts = {"a": 3.0, "b": 1.0, "c": 1.0, "d": 1.0, "e": 1.0, "f": 3.0}
    measure = of(**{point: {1: value, 2: value} for point, value in counts.items()})
    contrast = {point: (1 if point in "abc" else -1) / 3 for point in counts}
    found = measure.interval(contrast)
    assert (found.mean, found.low, found.high) == (0, 0, 0)


def test_percentiles_of_three_seeds_would_not():
    """Why the interval is by Student's t."""
    rng = np.random.default_rng(7)
    seeds = np.array(np.meshgrid(*[range(3)] * 3)).reshape(3, -1)  # all 27 resamples
    covered = 0
    for _ in range(600):
        low, high = np.quantile(rng.normal(size=3)[seeds].mean(axis=0), [0.025, 0.975])
        covered += low < 0 < high
    assert covered / 600 < 0.78


def test_pairs_are_told_apart_where_points_alone_are_not():
    rng = np.random.default_rng(8)
    paired = unpaired = 0
    for _ in range(60):
        measure = study(rng, 0.5)
        paired += measure.difference("a", "b").excludes_zero
        a, b = measure.mean("a"), measure.mean("b")
        unpaired += a.low > b.high or b.low > a.high
    assert paired > 50
    assert unpaired < 10
