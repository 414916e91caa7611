"""Student's t against tabulated values, and its promises by simulation."""

import math

import numpy as np
import pytest

from rnnlab import streams
from rnnlab.report.statistics import Test as PairedTest
from rnnlab.report.statistics import holm, interval, t_cdf, t_quantile

TRIALS = 2000
DEVIATIONS = 3.5  # of the binomial: a true 95% fails once in 2,000 times


def draws(counter, *shape):
    return streams.generator(0, "sample", counter).standard_normal(shape)


@pytest.mark.parametrize(
    ("p", "df", "t"),
    [(0.975, 1, 12.7062047), (0.975, 2, 4.30265273), (0.975, 4, 2.77644511), (0.995, 4, 4.60409487),
     (0.975, 9, 2.26215716), (0.95, 30, 1.69726089), (0.975, 1000, 1.96233908), (0.9995, 3, 12.9239786)],
)  # fmt: skip
def test_quantiles_are_those_of_the_tables(p, df, t):
    assert t_quantile(p, df) == pytest.approx(t, rel=1e-8)
    assert t_quantile(1 - p, df) == pytest.approx(-t, rel=1e-8)
    assert t_cdf(t, df) == pytest.approx(p, abs=1e-9)


def test_the_distribution_of_one_and_two_degrees_of_freedom_is_known_in_closed_form():
    for t in (-30.0, -1.0, -1e-3, 0.0, 0.2, 3.0, 1e4):
        assert t_cdf(t, 1) == pytest.approx(0.5 + math.atan(t) / math.pi, abs=1e-12)
        assert t_cdf(t, 2) == pytest.approx(0.5 + t / (2 * math.sqrt(2 + t * t)), abs=1e-12)


def near(share, wanted):
    return abs(share - wanted) < DEVIATIONS * math.sqrt(wanted * (1 - wanted) / TRIALS)


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_intervals_cover_the_typical_run_as_often_as_they_say(n):
    """Losses that spread by factors, where a percentile bootstrap of two covers half of the time."""
    losses = np.exp(0.8 * draws(n, TRIALS, n) - 3.0)
    bounds = [interval(one, "loss/val") for one in losses]
    assert near(np.mean([low <= math.exp(-3.0) <= high for low, high in bounds]), 0.95)


def test_an_accuracy_stays_within_its_bounds_and_one_seed_says_nothing():
    low, high = interval(np.array([0.999, 0.98, 0.9]), more_is_better=True)
    assert 0 < low < 0.9 and 0.999 < high < 1
    assert all(math.isnan(x) for x in interval(np.array([0.3])))
    signed = interval(np.array([-1.0, 1.0, 3.0]))
    assert signed == pytest.approx((1 - 4.30265273 * 2 / math.sqrt(3), 1 + 4.30265273 * 2 / math.sqrt(3)))


def test_holm_errs_at_all_as_seldom_as_it_says_and_less_strictly_than_bonferroni():
    assert holm([0.01, 0.04, 0.03, math.nan])[:3] == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    found = draws(99, TRIALS, 4, 6)  # four comparisons of six seeds each, none of which differs
    wrong = [min(holm([PairedTest.of(d).p for d in four])) <= 0.05 for four in found]
    without = [min(PairedTest.of(d).p for d in four) <= 0.05 for four in found]
    assert near(np.mean(wrong), 0.05) and near(np.mean(without), 1 - 0.95**4)


def test_the_seeds_that_are_asked_for_have_the_power_that_is_promised():
    n = PairedTest(5, 0.9, 1.0).needed()
    found = [PairedTest.of(d).p < 0.05 for d in 0.9 + draws(7, TRIALS, n)]
    fewer = [PairedTest.of(d).p < 0.05 for d in 0.9 + draws(8, TRIALS, n - 2)]
    assert 0.78 < np.mean(found) < 0.87 and np.mean(fewer) < np.mean(found)
    assert PairedTest(5, 1e-4, 1.0).needed() is None


def test_the_probability_of_being_better_is_calibrated():
    """Under a flat prior: it is uniform where nothing differs."""
    below = np.array([PairedTest.of(d).below for d in draws(3, TRIALS, 5)])
    for q in (0.05, 0.5, 0.9):
        assert near((below < q).mean(), q)
