"""What a model may say next, guessed from what was said before: agents repeat themselves."""

from collections.abc import Sequence

BEFORE = 4  # tokens that a guess is made from
MOST_GUESSES = 1_000_000


class Guesses:
    """What came last time after the same few tokens."""

    def __init__(self):
        self._after: dict[tuple[int, ...], int] = {}

    def learn(self, tokens: Sequence[int], first: int) -> None:
        """Remember `tokens` from the index `first` on, each with those before it."""
        if len(self._after) > MOST_GUESSES:
            self._after.clear()
        for place in range(max(first, 1), len(tokens)):
            for count in range(1, min(BEFORE, place) + 1):
                self._after[tuple(tokens[place - count : place])] = tokens[place]

    def after(self, tokens: Sequence[int], count: int) -> list[int]:
        """Return `count` tokens that may follow; where nothing is known, the last one again."""
        tail = list(tokens[-BEFORE:])
        for _ in range(count):
            known = (self._after.get(tuple(tail[-count:])) for count in range(min(BEFORE, len(tail)), 0, -1))
            tail.append(next((token for token in known if token is not None), tail[-1]))
        return tail[len(tail) - count :]
