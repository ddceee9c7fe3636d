"""How the pages write names, numbers, times and money."""

import math
from decimal import Decimal

from subterra.report.inputs import temperature_name
from subterra.statistics import wilson

NAMES = {
    "all": "all splits",
    "known": "known paths",
    "held_out_paths": "held-out paths",
    "held_out_values": "held-out values",
    "held_out_phrasings": "held-out phrasings",
    "interruptions": "interruptions",
    "train": "training",
    "valid": "validation",
}
OVER = {
    "known": "over known paths",
    "held_out_paths": "over held-out paths",
    "held_out_values": "with held-out values",
    "held_out_phrasings": "with held-out phrasings",
    "interruptions": "with an interruption",
}
EFFECTS = ((0.2, "negligible"), (0.5, "small"), (0.8, "medium"))  # Cohen's words for d and h


def split_name(split: str) -> str:
    """Return what a split is called."""
    return NAMES.get(split, split.replace("_", " "))


def family(condition: str) -> str:
    """Return what a condition has its colour from: compiled-q8_0 and compiled-f16 are one."""
    return condition.split("-")[0]


def megabytes(size: int) -> str:
    """Return a file size in MB (10^6 bytes).

    >>> megabytes(5_120_000)
    '5.1 MB'
    """
    return f"{size / 1e6:,.1f} MB"


def duration(seconds: float) -> str:
    """Return seconds as people say them.

    >>> duration(0.1769), duration(8.25), duration(75), duration(7260)
    ('0.18 s', '8.2 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds >= 1 or not seconds else f"{seconds:.2g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def money(dollars: float) -> str:
    """Return dollars: cents from a dollar on, two digits that matter below.

    >>> money(0.0000020056), money(0.0313), money(3), money(-31260), money(0)
    ('$0.0000020', '$0.031', '$3.00', '−$31,260', '$0')
    """
    sign, size = ("−" if dollars < 0 else ""), abs(dollars)
    if not size:
        return "$0"
    if size >= 1:
        return f"{sign}${size:,.0f}" if size >= 1000 else f"{sign}${size:.2f}"
    return f"{sign}${size:.{1 - math.floor(math.log10(size))}f}"


def mark(dollars: float) -> str:
    """Return dollars at a tick of an axis, without zeros at the end.

    >>> mark(0.00001), mark(100), mark(1_000_000)
    ('$0.00001', '$100', '$1,000,000')
    """
    text = f"{Decimal(repr(dollars)):,f}"
    return "$" + (text.rstrip("0").rstrip(".") if "." in text else text)


def times(ratio: float) -> str:
    """Return a ratio with about three digits that matter.

    >>> times(15586.7), times(4.25), times(462.4)
    ('15,600', '4.2', '462')
    """
    if ratio < 10:
        return f"{ratio:.2g}"
    return f"{round(ratio, 2 - math.floor(math.log10(ratio))):,.0f}"


def chance(p: float) -> str:
    """Return a p-value.

    >>> chance(0.00002), chance(0.0312), chance(1)
    ('< 0.001', '0.031', '1.000')
    """
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def effect_words(effect: float | None) -> str:
    """Return Cohen's word for the size of an effect.

    >>> effect_words(-0.31), effect_words(1.2), effect_words(None)
    ('small', 'large', 'not defined')
    """
    if effect is None:
        return "not defined"
    return next((word for least, word in EFFECTS if abs(effect) < least), "large")


def plain(value) -> str:
    """Return a number with separators and at most four digits that matter, anything else as it is."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value)


def shown(row: dict) -> dict:
    """Return a row of the summary's evaluation with its rate and interval in percent, and what stopped it early."""
    low, high = row.get("interval") or wilson(row["conforming"], row["conversations"])
    rate = row["conforming"] / row["conversations"]
    early = [(reason, count) for reason, count in row["stopped"].items() if reason != "finished"]
    return row | {"rate": 100 * rate, "low": 100 * low, "high": 100 * high, "early": early}


FILTERS = {
    "mb": megabytes,
    "duration": duration,
    "money": money,
    "times": times,
    "chance": chance,
    "effect": effect_words,
    "plain": plain,
    "split": split_name,
    "family": family,
    "temperature": temperature_name,
    "words": lambda text: str(text).replace("_", " "),
}
