"""Intervals against figures that others have published or that follow from the definition."""

import pytest
from subterra.statistics import bootstrap_mean, bootstrap_ratio, wilson


def test_wilson_agrees_with_the_closed_formula():
    low, high = wilson(95, 100)
    z, p, n = 1.959963984540054, 0.95, 100
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    assert (low, high) == pytest.approx((middle - half, middle + half), abs=1e-9)


def test_wilson_stays_inside_zero_and_one_and_is_not_empty_at_the_ends():
    assert wilson(0, 10)[0] == pytest.approx(0, abs=1e-12)
    assert wilson(10, 10) == pytest.approx((0.72246, 1.0), abs=1e-4)


def test_a_higher_level_gives_a_wider_wilson_interval():
    assert wilson(8, 10, 0.99)[0] < wilson(8, 10, 0.95)[0]


def test_nothing_counted_says_nothing():
    assert wilson(0, 0) == (0.0, 1.0)


def test_more_successes_than_trials_are_refused():
    with pytest.raises(ValueError):
        wilson(3, 2)


def test_the_bootstrap_of_coin_tosses_comes_near_the_normal_interval():
    low, high = bootstrap_mean([0, 1] * 200)
    assert (low, high) == pytest.approx((0.451, 0.549), abs=0.006)


def test_the_bootstrap_is_the_same_every_time_and_follows_its_seed():
    values = [1.0, 5.0, 2.5, 9.0, 4.0]
    assert bootstrap_mean(values) == bootstrap_mean(values)
    assert bootstrap_mean(values, resamples=200, seed=1) != bootstrap_mean(values, resamples=200, seed=2)


def test_equal_values_leave_no_doubt():
    assert bootstrap_mean([3.0] * 20) == (3.0, 3.0)


def test_a_ratio_draws_whole_conversations_so_that_clusters_widen_it():
    clustered = bootstrap_ratio([10, 0] * 20, [10] * 40)
    scattered = bootstrap_ratio([5] * 40, [10] * 40)
    assert clustered[1] - clustered[0] > 0.2
    assert scattered == (0.5, 0.5)


def test_conversations_without_values_say_nothing_about_values():
    assert bootstrap_ratio([2, 0], [2, 0]) == (1.0, 1.0)


@pytest.mark.parametrize(("parts", "totals"), [([], []), ([0], [0]), ([1], [1, 2])])
def test_a_bootstrap_of_nothing_is_refused(parts, totals):
    with pytest.raises(ValueError):
        bootstrap_ratio(parts, totals)
