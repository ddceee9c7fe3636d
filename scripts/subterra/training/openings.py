"""How a turn of the agent may be worded, instead of how it happened to be.

A step of the agent can be said in several ways, and which of them a conversation took is chance. To learn each turn as
it stands is to learn that chance as well, and its noise hides from a small model what matters there: which step comes
next. So wherever turns of one step have begun alike, what follows is learned with all that it was, by its frequency.

Greedy decoding takes the likeliest token, though, and not the likeliest step: of two steps, the one with the fewer
ways to begin wins, or one that begins like a third. So as long as other steps begin like this one too, one of its
tokens is the favourite and counts more: the one that it is known by, said often here and seldom there.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from subterra.training.tokens import IGNORED, Encoded


class Openings:
    """Conversations with more labels, `openings`: (place, label, weight) of what might stand there instead.

    Of the weight that a token of the agent's has, `smoothing` (0 to 1) is shared out among the tokens that stand there
    in all rows, in turns of the same step that are alike up to there; and of that, `favourite` (0 to 1) goes to the one
    that tells the step best, where turns of another step are alike up to there. Values of one name are alike whatever
    they are, and keep their own tokens. How steps begin is learned from the conversations that come first.
    """

    def __init__(self, smoothing: float, favourite: float = 0):
        self.smoothing, self.favourite = smoothing, favourite
        self.shares: dict[int, dict[int, float]] = {}

    def __call__(self, rows: Sequence[Mapping], encoded: list[Encoded]) -> list[Encoded]:
        """Return the encoded conversations of rows (records.CONVERSATION), each with its openings."""
        if not self.smoothing:
            return encoded
        turns = [list(_turns(row, one)) for row, one in zip(rows, encoded, strict=True)]
        if not self.shares:
            self._learn(turns, encoded)
        return [self._shared(row_turns, one) for row_turns, one in zip(turns, encoded, strict=True)]

    def _learn(self, turns: Sequence[Sequence[tuple]], encoded: Sequence[Encoded]) -> None:
        here: defaultdict[int, Counter] = defaultdict(Counter)
        anywhere: defaultdict[int, Counter] = defaultdict(Counter)
        for row_turns, one in zip(turns, encoded, strict=True):
            for step_so_far, so_far, place in row_turns:
                here[step_so_far][one["input_ids"][place]] += 1
                anywhere[so_far][one["input_ids"][place]] += 1
        for step_so_far, so_far, _ in (at for row_turns in turns for at in row_turns):
            if step_so_far not in self.shares:
                self.shares[step_so_far] = _shares(here[step_so_far], anywhere[so_far], self.favourite)

    def _shared(self, turns: Sequence[tuple], encoded: Encoded) -> Encoded:
        weights, more = list(encoded["weights"]), []
        for step_so_far, _, place in turns:
            own, weight = encoded["input_ids"][place], weights[place]
            shares = self.shares.get(step_so_far, {})
            if own not in shares:  # nothing to learn from stood here
                continue
            weights[place] = weight * (1 - self.smoothing + self.smoothing * shares[own])
            more += [(place, token, self.smoothing * weight * share) for token, share in shares.items() if token != own]
        return {**encoded, "weights": weights, "openings": more}


def _turns(row: Mapping, encoded: Encoded) -> Iterator[tuple[int, int, int]]:
    """Yield (number of the turn's step and what it says before, number of the latter alone, place) of each token.

    Those of values are left out.
    """
    said = [turn for turn in row["turns"] if turn["role"] == "assistant"]
    ids, labels, valued = encoded["input_ids"], encoded["labels"], dict(encoded["valued"])
    for turn, place in zip(said, encoded["begins"], strict=True):
        step, so_far = hash(tuple(turn["nodes"])), 0
        while place < len(ids) and labels[place] != IGNORED:
            if place not in valued:
                yield hash((step, so_far)), so_far, place
                so_far = hash((so_far, ids[place]))
            elif valued.get(place - 1) != valued[place]:
                so_far = hash((so_far, valued[place]))
            place += 1


def _shares(here: Counter, anywhere: Counter, favourite: float) -> dict[int, float]:
    """Return what each token counts that a step goes on with `here`, when all steps go on as `anywhere`.

    >>> _shares(Counter(I=2, So=1, Yes=1), Counter(I=5, So=1, Yes=1), 0.5)
    {'I': 0.25, 'So': 0.625, 'Yes': 0.125}
    """
    total = here.total()
    shares = {token: count / total for token, count in here.items()}
    if not favourite or total == anywhere.total():
        return shares
    known_by = max(here, key=lambda token: here[token] ** 2 / anywhere[token])
    return {token: share * (1 - favourite) + favourite * (token == known_by) for token, share in shares.items()}
