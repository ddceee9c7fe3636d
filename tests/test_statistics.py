"""Intervals and tests against figures that others have published or that follow from the definition."""

import itertools
import math

import pytest
from subterra.statistics import (
    bootstrap_difference,
    bootstrap_mean,
    bootstrap_ratio,
    cohens_d,
    compare,
    compare_outcomes,
    holm,
    pass_hat,
    wilson,
)


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


def test_the_interval_of_a_difference_comes_near_the_normal_one_and_pairs_are_drawn_whole():
    left, right = [0, 1] * 200, [1, 0, 0, 0] * 100
    low, high = bootstrap_difference(left, right, paired=False)
    half = 1.96 * (0.25 / 400 + 0.1875 / 400) ** 0.5
    assert (low, high) == pytest.approx((0.25 - half, 0.25 + half), abs=0.007)
    shifted = [value + 1 for value in left]
    assert bootstrap_difference(shifted, left, paired=True) == (1.0, 1.0), "no pair differs by anything else"
    assert bootstrap_difference(shifted, left, paired=False)[1] > 1.03


def test_a_difference_needs_values_on_both_sides_and_as_many_where_they_are_paired():
    for left, right, paired in (([], [1], False), ([1], [], False), ([], [], True), ([1, 2], [1], True)):
        with pytest.raises(ValueError):
            bootstrap_difference(left, right, paired=paired)


# Darwin's Zea mays (The Effects of Cross and Self Fertilisation, 1876; R's HistData::ZeaMays), eighths of an inch.
CROSSED = [188, 96, 168, 176, 153, 172, 177, 163, 146, 173, 186, 168, 177, 184, 96]
SELFED = [139, 163, 160, 160, 147, 149, 149, 122, 132, 144, 130, 144, 102, 124, 144]


def signed_rank_p(differences):
    """Return Wilcoxon's two-sided p over all signs that the differences might have had (ties share their ranks)."""
    sizes = [abs(one) for one in differences]
    ranks = [sum(other < one for other in sizes) + (sizes.count(one) + 1) / 2 for one in sizes]
    middle = sum(ranks) / 2
    seen = abs(sum(rank for rank, one in zip(ranks, differences, strict=True) if one > 0) - middle)
    sums = [sum(itertools.compress(ranks, signs)) for signs in itertools.product((0, 1), repeat=len(ranks))]
    return sum(abs(one - middle) >= seen - 1e-9 for one in sums) / len(sums)


def test_wilcoxon_on_darwins_plants_gives_the_figures_of_the_textbooks():
    found = compare(CROSSED, SELFED, paired=True)
    assert found["test"] == "Wilcoxon signed-rank" and found["conversations"] == 15 and found["zeros"] == 0
    assert found["statistic"] == 24, "V = 96 of 120, so 24 on the other side"
    assert found["p"] == pytest.approx(signed_rank_p([a - b for a, b in zip(CROSSED, SELFED, strict=True)]), rel=1e-9)
    assert found["difference"] == pytest.approx(20.933, abs=0.001), (
        "Fisher, The Design of Experiments: 314 eighths in all"
    )


def test_wilcoxon_leaves_out_pairs_that_are_equal_and_is_exact_for_few_scores_with_ties():
    left, right = [5, 4, 5, 3, 5, 4, 2, 5, 4], [4, 4, 3, 3, 4, 4, 3, 3, 4]
    found = compare(left, right, paired=True)
    assert found["zeros"] == 4 and found["conversations"] == 9
    assert found["p"] == pytest.approx(signed_rank_p([1, 2, 1, -1, 2])) == pytest.approx(0.25)


def test_equal_pairs_are_no_difference_at_all():
    found = compare([5, 4, 3], [5, 4, 3], paired=True)
    assert (found["p"], found["statistic"], found["effect"], found["difference"], found["zeros"]) == (
        1.0,
        0.0,
        0.0,
        0.0,
        3,
    )


def test_what_the_machine_rounds_is_no_difference_in_rank():
    found = compare([0.2, 0.2, 0.2, 0.2], [0.1, 0.1, 0.1, 0.3], paired=True)
    assert 0.2 - 0.1 != 0.3 - 0.2
    assert found["p"] == pytest.approx(signed_rank_p([1, 1, 1, -1])) == pytest.approx(0.625)


def test_mann_whitney_counts_the_pairs_and_is_exact_for_few():
    # The left side wins 4 of 12 pairs; of the C(7, 3) = 35 orders, those count that are as far from 6.
    found = compare([1.1, 2.2, 4.4], [3.3, 5.5, 6.6, 0.5], paired=False)
    wins = sum(a > b for a in [1.1, 2.2, 4.4] for b in [3.3, 5.5, 6.6, 0.5])
    orders = [
        sum(a > b for a in chosen for b in set(range(7)) - set(chosen))
        for chosen in itertools.combinations(range(7), 3)
    ]
    exact = sum(abs(one - 6) >= abs(wins - 6) for one in orders) / 35
    assert found["test"] == "Mann-Whitney U" and found["statistic"] == wins == 4
    assert found["p"] == pytest.approx(exact) and found["conversations"] == 7


def test_mann_whitney_of_ties_agrees_with_the_closed_formula():
    left, right = [5] * 10 + [4] * 10, [4] * 12 + [3] * 8
    found = compare(left, right, paired=False)
    u = 10 * 20 + 10 * 8 + 10 * 12 / 2
    ties = sum(count**3 - count for count in (10, 22, 8))
    sd = math.sqrt(400 / 12 * (41 - ties / (40 * 39)))
    z = (abs(u - 200) - 0.5) / sd
    assert found["statistic"] == u and found["p"] == pytest.approx(math.erfc(z / math.sqrt(2)))


def test_nothing_but_one_score_on_both_sides_is_no_difference():
    assert compare([4] * 30, [4] * 20, paired=False)["p"] == 1.0


def test_cohens_d_is_worked_by_hand():
    # Means 4 and 2; variances 1 and 4, of 3 and 5 values: pooled (2 * 1 + 4 * 4) / 6 = 3.
    left, right = [3, 4, 5], [0, 2, 4, 0, 4]
    assert cohens_d(left, right) == pytest.approx(2 / 3**0.5)
    # Means 4 and 3; variances 1 and 4: d_av of the pairs is by the root of their mean, 2.5.
    found = compare([3, 4, 5], [1, 3, 5], paired=True)
    assert found["effect_name"] == "Cohen's d_av" and found["effect"] == pytest.approx(1 / 2.5**0.5)


def test_cohens_d_without_spread_has_no_value_and_without_difference_is_nothing():
    assert cohens_d([5, 5, 5], [4, 4, 4]) is None and cohens_d([5], [4]) is None
    assert cohens_d([4, 4], [4, 4]) == 0.0


def test_mcnemar_is_the_binomial_of_the_pairs_that_disagree():
    # 10 and 2 pairs disagree: twice (C(12, 0) + C(12, 1) + C(12, 2)) / 2^12 = 158 / 4096.
    left = [True] * 10 + [False] * 2 + [True] * 20
    right = [False] * 10 + [True] * 2 + [True] * 20
    found = compare_outcomes(left, right, paired=True)
    assert found["test"] == "McNemar exact" and (found["statistic"], found["zeros"], found["conversations"]) == (
        10,
        20,
        32,
    )
    assert found["p"] == pytest.approx(158 / 4096) and found["difference"] == pytest.approx(8 / 32)
    assert compare_outcomes(left, left, paired=True)["p"] == 1.0


def test_fisher_gives_the_lady_tasting_tea():
    # Fisher, The Design of Experiments, 1935: 3 of 4 cups each way; 2 * (16 + 1) / 70.
    found = compare_outcomes([True] * 3 + [False], [True] + [False] * 3, paired=False)
    assert (
        found["test"] == "Fisher exact"
        and found["p"] == pytest.approx(34 / 70)
        and found["statistic"] == pytest.approx(9)
    )


def test_an_odds_ratio_without_value_is_none_and_not_infinite():
    for left, right in (([True] * 3, [False] * 3), ([True] * 3, [True] * 4)):
        assert compare_outcomes(left, right, paired=False)["statistic"] is None


def test_cohens_h_of_all_against_nothing_is_pi():
    found = compare_outcomes([True] * 4, [False] * 4, paired=False)
    assert found["effect_name"] == "Cohen's h" and found["effect"] == pytest.approx(math.pi)
    # Cohen, Statistical Power Analysis, 1988, table 6.2.2: phi is 1.571 for 0.50 and 1.369 for 0.40.
    found = compare_outcomes([True] * 5 + [False] * 5, [True] * 4 + [False] * 6, paired=True)
    assert found["effect"] == pytest.approx(1.571 - 1.369, abs=0.001)


def test_holm_adjusts_as_in_the_worked_example_and_keeps_the_order():
    # R: p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.05), "holm").
    assert holm([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])
    assert holm([0.05, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0] and holm([]) == []


def test_pass_hat_is_the_share_of_the_draws_of_k_runs_that_all_succeed():
    runs = [[1, 1, 0, 1, 0], [1, 1, 1, 1, 1], [0, 0, 1, 0, 0]]
    for k in range(1, 6):
        draws = [all(draw) for run in runs for draw in itertools.combinations(run, k)]
        counted = pass_hat([sum(run) for run in runs], [5] * 3, k)
        assert counted == pytest.approx(sum(draws) / len(draws))
    assert pass_hat([3, 5, 1], [5] * 3, 1) == pytest.approx(0.6), "pass^1 is the mean"


@pytest.mark.parametrize(("successes", "trials", "k"), [([1], [1], 2), ([2], [1], 1), ([1], [1], 0), ([], [], 1)])
def test_pass_hat_of_too_few_runs_is_refused(successes, trials, k):
    with pytest.raises(ValueError):
        pass_hat(successes, trials, k)
