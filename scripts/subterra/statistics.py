"""Intervals around what was counted, and tests of differences, so that nobody reads noise as a result.

All as in the paper: 95 %, percentile bootstrap, Wilcoxon or Mann-Whitney, Cohen's d, Holm.
"""

import math
from collections.abc import Sequence

RESAMPLES = 10_000
CHUNK = 2_000_000
DIGITS = 9  # of a difference: 0.3 - 0.2 and 0.2 - 0.1 are the same, whatever the machine makes of them


def wilson(successes: int, total: int, level: float = 0.95) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion, ends in [0, 1]; (0, 1) where nothing was counted.

    Raises ValueError unless 0 <= successes <= total and 0 < level < 1.
    """
    from scipy.stats import binomtest

    if total == 0 and successes == 0:
        return 0.0, 1.0
    interval = binomtest(successes, total).proportion_ci(confidence_level=level, method="wilson")
    return float(interval.low), float(interval.high)


def bootstrap_mean(
    values: Sequence[float], level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of a mean. Raises ValueError where there are no values."""
    return bootstrap_ratio(values, [1] * len(values), level, resamples, seed)


def bootstrap_ratio(
    parts: Sequence[float],
    totals: Sequence[float],
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of sum(parts) / sum(totals), items drawn whole.

    What is counted several times in one conversation hangs together; single counts drawn would
    give too narrow an interval. Items without a total say nothing and are left out.
    Raises ValueError where none remain, or where the two lengths differ.
    """
    import numpy as np

    pairs = np.array([(p, t) for p, t in zip(parts, totals, strict=True) if t], dtype=float)
    sums = _drawn_sums(pairs, resamples, np.random.default_rng(seed))
    return _percentiles(sums[:, 0] / sums[:, 1], level)


def bootstrap_difference(
    left: Sequence[float],
    right: Sequence[float],
    *,
    paired: bool,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of mean(left) - mean(right); pairs are drawn whole.

    Raises ValueError where a side has no values, or where paired sides differ in length.
    """
    import numpy as np

    if paired:
        return bootstrap_mean([a - b for a, b in zip(left, right, strict=True)], level, resamples, seed)
    generator = np.random.default_rng(seed)
    means = [
        _drawn_sums(np.array(side, dtype=float)[:, None], resamples, generator)[:, 0] / len(side)
        for side in (left, right)
    ]
    return _percentiles(means[0] - means[1], level)


def _drawn_sums(items, resamples: int, generator):
    """Return the sums of the columns (resamples, columns) over as many items as there are, drawn with putting back."""
    import numpy as np

    if not len(items):
        raise ValueError("a bootstrap needs at least one value")
    step = max(1, CHUNK // len(items))
    drawn = (
        generator.integers(0, len(items), (min(step, resamples - begin), len(items)))
        for begin in range(0, resamples, step)
    )
    return np.concatenate([items[some].sum(axis=1) for some in drawn])


def _percentiles(values, level: float) -> tuple[float, float]:
    import numpy as np

    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def compare(left: Sequence[float], right: Sequence[float], *, paired: bool) -> dict:
    """Test whether one side's numbers (scores, seconds, ...) are larger; two-sided.

    Paired: Wilcoxon's signed-rank test. Pairs without a difference say nothing of its sign and are left out, as
    Wilcoxon did (their number is `zeros`); where all are such, p is 1. Else: the Mann-Whitney U test. Of few values
    scipy's p is exact (Wilcoxon: 13 pairs with ties, 50 without; Mann-Whitney: 8 on one side, without ties), of more
    it is the normal approximation, corrected for ties.

    Returns {paired, test, conversations, zeros, statistic, p, effect_name, effect, difference, low, high}: the effect
    is Cohen's d (see `cohens_d`), `difference` that of the means with its bootstrap interval. `conversations` counts
    pairs, or both sides. Raises ValueError where a side is empty, or where paired sides differ in length.
    """
    from scipy.stats import mannwhitneyu, wilcoxon

    row = _row(left, right, paired)
    if paired:
        apart = [float(f"{a - b:.{DIGITS}g}") for a, b in zip(left, right, strict=True)]
        apart = [one for one in apart if one]
        found = wilcoxon(apart) if apart else None
        row |= {"test": "Wilcoxon signed-rank", "zeros": len(left) - len(apart)}
    else:
        found = mannwhitneyu(left, right)
        row |= {"test": "Mann-Whitney U", "zeros": 0}
    row |= {"statistic": float(found.statistic) if found else 0.0, "p": float(found.pvalue) if found else 1.0}
    name = "Cohen's d_av" if paired else "Cohen's d"
    return row | {"effect_name": name, "effect": cohens_d(left, right)}


def compare_outcomes(left: Sequence[bool], right: Sequence[bool], *, paired: bool) -> dict:
    """Test whether one side succeeds more often; two-sided and exact. Returns what `compare` does.

    Paired: McNemar's test, binomial on the pairs that disagree (the others are `zeros`; where none disagree, p is 1);
    the statistic is the number of pairs in which the left side alone succeeds. Else: Fisher's test; the statistic is
    the odds ratio, None where it has no value. The effect is Cohen's h, the difference of the shares on the arcsine
    scale.
    """
    from scipy.stats import binomtest, fisher_exact

    left, right = [bool(one) for one in left], [bool(one) for one in right]
    row = _row(left, right, paired)
    if paired:
        only_left = sum(a and not b for a, b in zip(left, right, strict=True))
        only_right = sum(b and not a for a, b in zip(left, right, strict=True))
        apart = only_left + only_right
        p = binomtest(only_left, apart).pvalue if apart else 1.0
        row |= {"test": "McNemar exact", "zeros": len(left) - apart, "statistic": float(only_left), "p": float(p)}
    else:
        found = fisher_exact([[sum(side), len(side) - sum(side)] for side in (left, right)])
        odds = float(found.statistic)
        statistic = odds if math.isfinite(odds) else None
        row |= {"test": "Fisher exact", "zeros": 0, "statistic": statistic, "p": float(found.pvalue)}
    h = 2 * (math.asin(math.sqrt(_mean(left))) - math.asin(math.sqrt(_mean(right))))
    return row | {"effect_name": "Cohen's h", "effect": h}


def _row(left: Sequence[float], right: Sequence[float], paired: bool) -> dict:
    low, high = bootstrap_difference(left, right, paired=paired)
    return {
        "paired": paired,
        "conversations": len(left) if paired else len(left) + len(right),
        "difference": _mean(left) - _mean(right),
        "low": low,
        "high": high,
    }


def cohens_d(left: Sequence[float], right: Sequence[float]) -> float | None:
    """Return the difference of the means in pooled standard deviations (Cohen 1988).

    Of pairs that is d_av (Cumming 2012): unlike d_z it does not grow as the pairs hang together, so that it can be read
    beside a d of other conversations. 0 without a difference, None without any spread. Raises ValueError where a side
    is empty.
    """
    apart = _mean(left) - _mean(right)
    freedom = len(left) + len(right) - 2
    spread = math.sqrt((_squares(left) + _squares(right)) / freedom) if freedom else 0.0
    if not apart:
        return 0.0
    return apart / spread if spread else None


def _squares(values: Sequence[float]) -> float:
    """Return the sum of the squared distances from the mean."""
    middle = _mean(values)
    return math.fsum((one - middle) ** 2 for one in values)


def _mean(values: Sequence[float]) -> float:
    if not len(values):
        raise ValueError("a mean needs at least one value")
    return math.fsum(values) / len(values)


def holm(ps: Sequence[float]) -> list[float]:
    """Return p-values adjusted for being several, in their order (Holm 1979, step-down).

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03, 0.005])]
    [0.03, 0.06, 0.06, 0.02]
    """
    adjusted = [1.0] * len(ps)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[place]))
        adjusted[place] = highest
    return adjusted


def pass_hat(successes: Sequence[int], trials: Sequence[int], k: int) -> float:
    """Return tau-bench's pass^k: the chance that k runs of a scenario all succeed, as a mean over the scenarios.

    Both hold a number a scenario; c successes in n trials count C(c, k) / C(n, k) (Yao et al. 2024).
    Raises ValueError unless every scenario has 0 <= c <= n and n >= k >= 1, and where there are none.

    >>> pass_hat([4, 3], [4, 4], 2)
    0.75
    """
    pairs = list(zip(successes, trials, strict=True))
    if k < 1 or any(not 0 <= c <= n or n < k for c, n in pairs):
        raise ValueError(f"pass^{k} needs k >= 1, so many trials of every scenario, and no more successes than trials")
    return _mean([math.comb(c, k) / math.comb(n, k) for c, n in pairs])
