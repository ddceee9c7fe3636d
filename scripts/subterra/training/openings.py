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


def with_openings(
    rows: Sequence[Mapping], encoded: list[Encoded], smoothing: float, favourite: float = 0
) -> list[Encoded]:
    """Return the encoded conversations of rows (records.CONVERSATION), each with `openings`: more labels.

    They are (place, label, weight). Of the weight that a token of the agent's has, `smoothing` (0 to 1) is shared out
    among the tokens that stand there in all rows, in turns of the same step that are alike up to there; and of that,
    `favourite` (0 to 1) goes to the one that tells the step best, where turns of another step are alike up to there.
    Values of one name are alike whatever they are, and keep their own tokens.
    """
    if not smoothing:
        return encoded
    turns = [list(_turns(row, one)) for row, one in zip(rows, encoded, strict=True)]
    here: defaultdict[int, Counter] = defaultdict(Counter)
    anywhere: defaultdict[int, Counter] = defaultdict(Counter)
    for row_turns, one in zip(turns, encoded, strict=True):
        for step_so_far, so_far, place in row_turns:
            here[step_so_far][one["input_ids"][place]] += 1
            anywhere[so_far][one["input_ids"][place]] += 1
    shares: dict[int, dict[int, float]] = {}
    for step_so_far, so_far, _ in (at for row_turns in turns for at in row_turns):
        if step_so_far not in shares:
            shares[step_so_far] = _shares(here[step_so_far], anywhere[so_far], favourite)
    return [_shared(row_turns, one, shares, smoothing) for row_turns, one in zip(turns, encoded, strict=True)]


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


def _shared(turns: Sequence[tuple], encoded: Encoded, shares: Mapping[int, Mapping], smoothing: float) -> Encoded:
    weights, more = list(encoded["weights"]), []
    for step_so_far, _, place in turns:
        own, weight = encoded["input_ids"][place], weights[place]
        for token, share in shares[step_so_far].items():
            if token == own:
                weights[place] = weight * (1 - smoothing + smoothing * share)
            else:
                more.append((place, token, smoothing * weight * share))
    return {**encoded, "weights": weights, "openings": more}
