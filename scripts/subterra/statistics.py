"""Intervals around what was counted, so that nobody reads noise as a result (95 %, as in the paper)."""

from collections.abc import Sequence

RESAMPLES = 10_000
CHUNK = 2_000_000


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
    if not len(pairs):
        raise ValueError("a bootstrap needs at least one value")
    generator = np.random.default_rng(seed)
    found = []
    step = max(1, CHUNK // len(pairs))
    for begin in range(0, resamples, step):
        drawn = generator.integers(0, len(pairs), (min(step, resamples - begin), len(pairs)))
        sums = pairs[drawn].sum(axis=1)
        found.append(sums[:, 0] / sums[:, 1])
    low, high = np.quantile(np.concatenate(found), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
