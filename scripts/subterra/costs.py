"""What requests cost: the prices of config/prices.yaml, tokens, dollars, and the most a request may come to."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import yaml

from subterra.errors import SubterraError, nearest

PRICES = Path("config") / "prices.yaml"
MILLION = 1_000_000
MESSAGE_TOKENS = 16  # what a chat template puts around a message, at the most


@dataclass(frozen=True)
class Usage:
    """Tokens of one request: read, those of them that the provider had kept from before, and written."""

    tokens_in: int = 0
    tokens_cached: int = 0
    tokens_out: int = 0


@dataclass(frozen=True)
class Price:
    """Dollars for a million tokens of one model; `batch` is what a request in a batch file costs, as a share.

    What the provider had kept of a prompt is not cheaper in a batch: with some it is, with others not.
    """

    model: str
    input: float
    output: float
    cached_input: float | None = None
    batch: float = 1.0
    source: str = field(default="", compare=False)

    def dollars(self, usage: Usage, in_batch: bool = False) -> float:
        """Return what a request cost.

        >>> Price("m", input=3, output=15, cached_input=0.3).dollars(Usage(1_000_000, 500_000, 100_000))
        3.15
        """
        cached = self.input if self.cached_input is None else self.cached_input
        share = self.batch if in_batch else 1.0
        fresh = self.input * (usage.tokens_in - usage.tokens_cached) + self.output * usage.tokens_out
        return (share * fresh + min(cached, share * self.input) * usage.tokens_cached) / MILLION

    def at_most(self, messages: Sequence[Mapping], most_out: int, in_batch: bool = False) -> float:
        """Return what a request can cost at the most: no token is shorter than a byte."""
        return self.dollars(Usage(longest(messages), 0, most_out), in_batch)


def longest(messages: Sequence[Mapping]) -> int:
    """Return how many tokens messages have at the most."""
    return sum(len(json.dumps(message, ensure_ascii=False).encode()) + MESSAGE_TOKENS for message in messages)


@cache
def price_of(model: str, file: Path = PRICES) -> Price:
    """Return the price of a model. Raises SubterraError where the file has none, or is none."""
    try:
        told = yaml.safe_load(file.read_text(encoding="utf-8"))["models"]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as problem:
        raise SubterraError(f"{file}: no table of prices under `models` ({' '.join(str(problem).split())})") from None
    if model not in told:
        way_out = "add what it costs, or input: 0, output: 0 where it is your own machine's"
        raise SubterraError(f"{file}: no price for '{model}'{nearest(model, told)}: {way_out}")
    entry = told[model]
    numbers = {key: entry.get(key) for key in ("input", "output", "cached_input", "batch") if key in entry}
    wrong = [key for key, value in numbers.items() if type(value) not in (int, float) or not 0 <= value < MILLION]
    if wrong or not {"input", "output"} <= numbers.keys():
        place = wrong[0] if wrong else "input, output"
        raise SubterraError(f"{file}: {model}: {place}: dollars for a million tokens are a number from 0 on")
    return Price(model, **numbers, source=str(entry.get("source", "")))
