"""A small formalism for phrasings: a rule is a list of alternatives, one a line.

    refuse: does not want the offer        a rule, and what it means
      no[ thanks|, thank you|].            alternatives in brackets, an empty one makes them optional, nested at will
      <sorry>, but {offer} [is not|isn't] for me.

`<name>` is another rule. `{name}` stays as it is: it is filled later. A line with many forms is drawn more often than
one with few, so that the rare forms of a big family are not crowded out by a fixed phrase.
"""

import random
import re
from bisect import bisect
from itertools import accumulate, chain
from pathlib import Path

_MARKS = re.compile(r"[\[\]|]|<[a-z_]+>")
_SENTENCE = re.compile(r"(^|[.?!] )([a-z])")
_PLURAL = re.compile(r"[^ ]*( [^ ]+)?[^s]s( (with|for|by|on|at) |$)")
_TOO_MANY = 1e12
EVENNESS = 0.2  # 0 draws each line of a rule as often as the next, 1 each form


class Grammar:
    """The rules of some files, of which each may add alternatives to the others' rules.

    Raises ValueError for a rule that is not there or a bracket without its partner.
    """

    def __init__(self, *files: str | Path):
        self.meanings: dict[str, str] = {}
        lines: dict[str, list[str]] = {}
        name = ""
        for line in chain.from_iterable(Path(file).read_text(encoding="utf-8").splitlines() for file in files):
            if line.startswith("  "):
                lines[name].append(line[2:])
            elif line and not line.startswith("#"):
                name, _, meaning = line.partition(":")
                self.meanings[name] = meaning.strip() or self.meanings.get(name, "")
                lines.setdefault(name, [])
        self._lines = lines
        self._rules: dict[str, tuple[list, list[float]]] = {}
        self._forms: dict[str, float] = {}
        for name in lines:
            self._rule(name)

    def __contains__(self, name: str) -> bool:
        return name in self._rules

    def forms(self, name: str) -> float:
        """Return how many derivations a rule has, at most 1e12."""
        return self._forms[name]

    def draw(self, rng: random.Random, name: str) -> str:
        """Return one form of a rule."""
        pieces: list[str] = []
        self._say(rng, self._rules[name], pieces)
        return "".join(pieces)

    def _say(self, rng: random.Random, choice: tuple[list, list[float]], pieces: list[str]) -> None:
        ways, weights = choice
        for piece in ways[bisect(weights, rng.random() * weights[-1])]:
            if piece.__class__ is str:
                pieces.append(piece)
            else:
                self._say(rng, piece, pieces)

    def _rule(self, name: str) -> tuple[list, list[float]]:
        if name not in self._rules:
            if name not in self._lines:
                raise ValueError(f"<{name}>: no such rule")
            parsed = [self._sequence(name, _tokens(line)) for line in self._lines[name]]
            self._forms[name] = min(sum(forms for _, forms in parsed), _TOO_MANY)
            self._rules[name] = _choice([way for way, _ in parsed], [forms**EVENNESS for _, forms in parsed])
        return self._rules[name]

    def _sequence(self, name: str, tokens: list[str], inside: bool = False) -> tuple[list, float]:
        """Take tokens up to the end of this alternative; return its pieces and how many forms they have."""
        pieces: list = []
        forms = 1.0
        while tokens and not (inside and tokens[-1] in "|]"):
            token = tokens.pop()
            if token == "[":
                piece, more = self._bracket(name, tokens)
            elif token.startswith("<"):
                piece, more = self._rule(token[1:-1]), self._forms[token[1:-1]]
            else:
                piece, more = token, 1.0
            pieces.append(piece)
            forms = min(forms * more, _TOO_MANY)
        return pieces, forms

    def _bracket(self, name: str, tokens: list[str]) -> tuple[tuple, float]:
        ways, forms = [], 0.0
        while True:
            way, more = self._sequence(name, tokens, inside=True)
            ways.append(way)
            forms += more
            if not tokens:
                raise ValueError(f"{name}: a bracket is not closed")
            if tokens.pop() == "]":
                return _choice(ways, [1.0] * len(ways)), forms


def _choice(ways: list, weights: list[float]) -> tuple[list, list[float]]:
    return ways, list(accumulate(weights))


def _tokens(line: str) -> list[str]:
    """Return the marks and the text between them, last first."""
    tokens, place = [], 0
    for mark in _MARKS.finditer(line):
        if mark.start() > place:
            tokens.append(line[place : mark.start()])
        tokens.append(mark[0])
        place = mark.end()
    return [*tokens, line[place:]][::-1] if line[place:] else tokens[::-1]


def sentences(text: str) -> str:
    """Begin every sentence with a capital.

    >>> sentences("well, no. why? {date} is fine.")
    'Well, no. Why? {date} is fine.'
    """
    return _SENTENCE.sub(lambda found: found[1] + found[2].upper(), text)


def with_article(noun: str) -> str:
    """Put the indefinite article before a noun.

    >>> with_article("order"), with_article("repair"), with_article("urgent visit")
    ('an order', 'a repair', 'an urgent visit')
    >>> with_article("two men with a van"), with_article("seats by the aisle")
    ('two men with a van', 'seats by the aisle')
    """
    if noun.startswith(("two ", "new ")) or _PLURAL.match(noun):
        return noun
    return f"{'an' if noun[0].lower() in 'aeio' or noun.startswith(('upg', 'urg')) else 'a'} {noun}"
