"""Values replaced by made-up ones while training, so that a model learns to repeat what it heard and not a list.

A spec names a few dozen values of a variable. A small model learns them by heart within minutes, and says one of them
where the customer said another. Which value a variable has changes nothing but the words unless the flowchart asks for
it, so training may put in words that stand on no list.
"""

import random
import re
from collections.abc import Iterable, Mapping, Sequence

from subterra.pretraining.words import pseudo_word

WORD = re.compile(r"[^\W\d_]+|\d")
KEPT = 3  # letters of the longest word that stays: articles, "and", "am"
REPLACED = 0.75  # of the values of a conversation that is changed
KNOWN_WORDS = 0.6  # of the words put in: the others are invented


def substitute(rows: Sequence[Mapping], free: Iterable[str], share: float, seed: int) -> list[Mapping]:
    """Return conversations, about `share` of them with made-up values of the variables `free`.

    Each row is one of records.CONVERSATION. A value is replaced wherever it stands: in what is said, in what is handed
    to a tool or comes from it, and in what a turn has to say. A made-up value has the words and digits of the old one
    replaced, one by one, in the same case. The same seed gives the same conversations.
    """
    free = frozenset(free)
    words = sorted({word for row in rows for value in _values(row, free) for word in WORD.findall(value)})
    return [
        _substituted(row, free, words, rng) if rng.random() < share else row
        for row in rows
        for rng in [random.Random(f"{seed} {row['id']}")]
    ]


def _values(row: Mapping, free: frozenset[str]) -> list[str]:
    """Return the values of a conversation that may be replaced."""
    return [value for drawn in (row["values"], row["corrected"]) for name, value in drawn.items() if name in free]


def _substituted(row: Mapping, free: frozenset[str], words: Sequence[str], rng: random.Random) -> Mapping:
    values = [value for value in _values(row, free) if rng.random() < REPLACED]
    if not values:
        return row
    new = {value: _made_up(value, words, rng) for value in values}
    longest_first = "|".join(re.escape(value) for value in sorted(new, key=lambda value: (-len(value), value)))
    pattern = re.compile(rf"(?<!\w)(?:{longest_first})(?!\w)")

    def replaced(text: str) -> str:
        return pattern.sub(lambda match: new[match.group()], text)

    turns = [
        turn
        | {
            "content": replaced(turn["content"]),
            "call": replaced(turn["call"]),
            "values": {name: replaced(value) for name, value in turn["values"].items()},
        }
        for turn in row["turns"]
    ]
    return {**row, "turns": turns}


def _made_up(value: str, words: Sequence[str], rng: random.Random) -> str:
    """Return a value like this one, of other words."""

    def another(match: re.Match) -> str:
        word = match.group()
        if word.isdigit():
            return str(rng.randrange(10))
        if len(word) <= KEPT and word.islower():
            return word
        found = rng.choice(words) if rng.random() < KNOWN_WORDS else pseudo_word(rng)
        return found.capitalize() if word[0].isupper() else found.lower()

    return WORD.sub(another, value)
