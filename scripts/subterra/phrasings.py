"""Phrasings with alternatives: of `[a|b]` one is said, by lot, so that a line of a spec stands for many.

An empty alternative leaves its place out, and brackets may stand in brackets. Brackets without a `|` are text.
"""

import re
from collections.abc import Iterator
from typing import Any

from subterra.text import fraction, names

_BRACKET = re.compile(r"\[([^\[\]|]*(?:\|[^\[\]|]*)+)\]")
UNPAIRED = "close each bracket of [this|that], and write no other [, ] or | beside it"


def one_form(phrasing: str, *lot: Any) -> str:
    """Return a phrasing with one of each bracket's alternatives: equal lots, the same words.

    >>> one_form("[Hello|Hi], [nice |]to see you.", 1), one_form("[Hello|Hi], [nice |]to see you.", 4)
    ('Hi, to see you.', 'Hello, nice to see you.')
    """
    number = 0
    while bracket := _BRACKET.search(phrasing):
        choices = bracket[1].split("|")
        phrasing = _put(bracket, choices[int(fraction(*lot, number) * len(choices))])
        number += 1
    return _spaced(phrasing) if number else phrasing


def forms(phrasing: str) -> Iterator[str]:
    """Yield all that a phrasing stands for, each once.

    >>> list(forms("[Two|[All|Both] of us], please."))
    ['Two, please.', 'All of us, please.', 'Both of us, please.']
    """
    open_ones, seen = [phrasing], set()
    while open_ones:
        phrasing = open_ones.pop()
        bracket = _BRACKET.search(phrasing)
        if bracket:
            open_ones += [_put(bracket, choice) for choice in reversed(bracket[1].split("|"))]
        elif phrasing not in seen:
            seen.add(phrasing)
            yield _spaced(phrasing)


def flaw(phrasing: str) -> str:
    """Return what is wrong with a phrasing's brackets and the way out ("" for a good one).

    >>> flaw("[Hello|Hi there.")
    'close each bracket of [this|that], and write no other [, ] or | beside it'
    >>> flaw("[To {city}|There], please.")
    '[To {city}|There]: name the same variables in each of the alternatives'
    >>> flaw("See [1]."), flaw("[Hello|Hi].")
    ('', '')
    """
    if "|" not in phrasing or not {"[", "]"} & set(phrasing):
        return ""
    while bracket := _BRACKET.search(phrasing):
        choices = bracket[1].split("|")
        if len({frozenset(names(choice)) for choice in choices}) > 1:
            return f"{bracket[0]}: name the same variables in each of the alternatives"
        phrasing = _put(bracket, choices[0])
    return UNPAIRED if set("[]|") & set(phrasing) else ""


def _put(bracket: re.Match, choice: str) -> str:
    return bracket.string[: bracket.start()] + choice + bracket.string[bracket.end() :]


def _spaced(text: str) -> str:
    return " ".join(text.split())
