"""Values that nobody has heard: put into conversations to learn from, so that a model repeats what it was told.

A small model that hears the same forty towns again and again learns to recognise them, and says the likeliest of them
when it is told another. So in a share of the conversations each value is replaced, wherever it is said, by one made for
that conversation alone: of words and pieces of the variable's own values, known words, first names and invented ones.
"""

import json
import random
import re
from collections.abc import Collection, Mapping, Sequence

from subterra.pretraining.words import FIRST_NAMES, known_word, pseudo_word
from subterra.text import whole_words

GRAFTED = 0.25  # share of values with a small word inside, that go on with another value after it
JOINED = 0.12  # share of values of several words with a small word more inside
JOINTS = ("and", "at", "by the", "for", "in the", "of", "of the", "on a", "the", "to the")
RECOMBINED = 0.15  # share of values whose words all come from the variable's other values
REPLACED = 0.6  # share of the words of the others that are known or invented ones, at least one of them
ECHOED = 0.05  # share of values of several words in which one comes twice
INVENTED = 0.4  # share of small words among those that are no word at all
CROSSED = 0.5  # share of invented words that are two known ones in one; the others are syllables
COMPOUND = 0.1  # share of names with a capital inside, as brands have
NAMED, KNOWN = 0.35, 0.3  # shares of names that are somebody's first name, or a known word; the others are invented
TRIES = 30  # to make a value that there is not
LONG_NUMBER = r"\d{4,}"
AGAIN = 0.3  # share of the digits of a number that are as the one before
SELDOM = 1 / 3  # of the times: for variables that the agent never repeats
SHORTEST = 4  # letters of a word that is replaced: articles and prepositions stay


def with_unheard(
    rows: Sequence[Mapping], values: Mapping[str, Collection[str]], share: float, seed: int
) -> list[Mapping]:
    """Return conversation rows (records.CONVERSATION), about `share` of them with unheard values.

    `values` are all that each variable can have, held-out ones too: none of them is made again. Those with digits stay
    as they are, save for long numbers, which are spelled digit by digit and get more of the same digit in a row. Of
    variables that the agent never repeats there is nothing to copy, and the customer's words for them may be all that
    tells a branch: they are replaced more seldom.
    A row's lot depends on its id and the seed alone, its values on the other rows too.
    """
    repeated = _repeated(rows)
    heard = {name: sorted({row["values"][name] for row in rows if name in row["values"]}) for name in values}
    pools = {name: (pool, values[name]) for name, pool in heard.items() if _can_be_made(pool)}
    copied = {name: pool for name, pool in pools.items() if name in repeated}
    return [_renewed(row, pools, copied, f"{seed} {row['id']}", share) for row in rows]


def _can_be_made(pool: Sequence[str]) -> bool:
    return not re.search(r"\d", "".join(pool)) or all(re.fullmatch(LONG_NUMBER, value) for value in pool)


def _repeated(rows: Sequence[Mapping]) -> set[str]:
    """Return the variables that the agent says or hands to a tool."""
    found: set[str] = set()
    for row in rows:
        for turn in row["turns"]:
            found.update(turn["values"])
            given = json.loads(turn["call"])["arguments"].values() if turn["call"] else ()
            found.update(name for name, value in row["values"].items() if value in given)
    return found


def _renewed(row: Mapping, pools: Mapping[str, tuple], copied: Mapping[str, tuple], seed: str, share: float) -> Mapping:
    rng = random.Random(f"unheard {seed}")
    if rng.random() >= share:
        return row
    pools = pools if rng.random() < SELDOM else copied
    new: dict[str, str] = {}
    for said in (row["values"], row["corrected"]):
        for name in sorted(said.keys() & pools.keys()):
            new.setdefault(said[name], unheard(*pools[name], rng))
    if not new:
        return row
    old = whole_words(new)

    def put(text: str) -> str:
        return old.sub(lambda found: new[found[0]], text)

    turns = [
        {
            **turn,
            "content": put(turn["content"]),
            "call": put(turn["call"]),
            "values": {name: new.get(value, value) for name, value in turn["values"].items()},
        }
        for turn in row["turns"]
    ]
    return {**row, "turns": turns}


def unheard(pool: Sequence[str], known: Collection[str], rng: random.Random) -> str:
    """Return a value that looks like those of the pool and is none of the known ones, save where all of it is short.

    >>> rng, towns = random.Random(2), ["Lisbon", "Cape Town", "New Orleans"]
    >>> [unheard(towns, towns, rng) for _ in range(3)]
    ['Liwn', 'Recommend Improvement', 'Grantioned']
    """
    for _ in range(TRIES):
        value = _made(pool, rng)
        if value not in known:
            break
    return value


def _made(pool: Sequence[str], rng: random.Random) -> str:
    if pool[0].isdigit():
        return _number(rng.choice(pool), rng)
    words = rng.choice(pool).split()
    inside = [place for place, word in enumerate(words[1:-1], 2) if len(word) < SHORTEST]
    if inside and rng.random() < GRAFTED:  # "the copy of the file" has one word twice, and what follows it is another
        words = words[: rng.choice(inside)]
        other = rng.choice(pool).split()
        words += other[1:] if other[0] == words[-1] else other  # no "of the the"
    if len(words) > 1 and rng.random() < JOINED:
        place = rng.randint(1, len(words) - 1)
        words[place:place] = rng.choice(JOINTS).split()
    long = [place for place, word in enumerate(words) if len(word) >= SHORTEST]
    if not long:
        return " ".join(words)
    if rng.random() < RECOMBINED:
        for place in long:
            alike = [other for value in pool for other in value.split() if _alike(other, words[place])]
            other = rng.choice(alike)
            words[place] = _crossed(words[place], other, rng) if len(words) == 1 else other
    else:
        new = [place for place in long if rng.random() < REPLACED] or [rng.choice(long)]
        for place in new:
            words[place] = _strange(words[place], rng)
    if len(long) > 1 and rng.random() < ECHOED:
        one, other = rng.sample(long, 2)
        words[one] = words[other]
    return " ".join(words)


def _number(old: str, rng: random.Random) -> str:
    """Return a number of as many digits, with as many noughts at its end."""
    digits = [rng.choice("123456789")]
    while len(digits) < len(old.rstrip("0")):
        digits.append(digits[-1] if rng.random() < AGAIN else rng.choice("0123456789"))
    return "".join(digits)[: len(old)].ljust(len(old), "0")


def _alike(other: str, word: str) -> bool:
    return len(other) >= SHORTEST and other[0].isupper() == word[0].isupper()


def _crossed(word: str, other: str, rng: random.Random) -> str:
    """Return the beginning of a word and the end of another."""
    return word[: rng.randint(2, max(2, len(word) - 2))] + other[rng.randint(1, max(1, len(other) - 2)) :].lower()


def _strange(word: str, rng: random.Random) -> str:
    if re.match("[A-Z][a-z]+[A-Z]", word) or (word[0].isupper() and rng.random() < COMPOUND):  # "PowerPoint"
        return known_word(rng).capitalize() + known_word(rng).capitalize()
    if word[0].isupper():
        kind = rng.random()
        if kind < NAMED:
            return rng.choice(FIRST_NAMES)
        return (known_word(rng) if kind < NAMED + KNOWN else _invented(rng)).capitalize()
    return _invented(rng) if rng.random() < INVENTED else known_word(rng)


def _invented(rng: random.Random) -> str:
    """Return a word that there is not: of syllables, or with the letters in a row that known words have."""
    return _crossed(known_word(rng), known_word(rng), rng) if rng.random() < CROSSED else pseudo_word(rng)
