"""How a turn of the agent may be worded, instead of how it happened to be.

A step of the agent can be said in several ways, and which of them a conversation took is chance. To learn each turn as
it stands is to learn that chance as well, and its noise hides from a small model what matters there: which step comes
next. So wherever turns of one step have begun alike, what follows is learned with all that it was, by its frequency.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from subterra.training.tokens import IGNORED, Encoded

VALUE = -1  # a value as the beginning of a turn has it: another conversation has other ones


def with_openings(rows: Sequence[Mapping], encoded: list[Encoded], smoothing: float) -> list[Encoded]:
    """Return the encoded conversations of rows (records.CONVERSATION), each with `openings`: more labels.

    They are (place, label, weight). Of the weight that a token of the agent's has, `smoothing` (0 to 1) is shared out
    among the tokens that stand there in all rows, in turns of the same step that are alike up to there. Values are
    alike whatever they are, and keep their own tokens.
    """
    if not smoothing:
        return encoded
    turns = [list(_turns(row, one)) for row, one in zip(rows, encoded, strict=True)]
    seen: defaultdict[int, Counter] = defaultdict(Counter)
    for row_turns, one in zip(turns, encoded, strict=True):
        for so_far, place in row_turns:
            seen[so_far][one["input_ids"][place]] += 1
    return [_shared(row_turns, one, seen, smoothing) for row_turns, one in zip(turns, encoded, strict=True)]


def _turns(row: Mapping, encoded: Encoded) -> Iterator[tuple[int, int]]:
    """Yield (a number for the turn's step and what it says before, place) of each token that is of no value."""
    said = [turn for turn in row["turns"] if turn["role"] == "assistant"]
    ids, labels, valued = encoded["input_ids"], encoded["labels"], set(encoded["valued"])
    for turn, place in zip(said, encoded["begins"], strict=True):
        so_far = hash(tuple(turn["nodes"]))
        while place < len(ids) and labels[place] != IGNORED:
            if place not in valued:
                yield so_far, place
                so_far = hash((so_far, ids[place]))
            elif place - 1 not in valued:
                so_far = hash((so_far, VALUE))
            place += 1


def _shared(turns: Sequence[tuple[int, int]], encoded: Encoded, seen: Mapping, smoothing: float) -> Encoded:
    weights, more = list(encoded["weights"]), []
    for so_far, place in turns:
        own, counts = encoded["input_ids"][place], seen[so_far]
        share = smoothing * weights[place] / counts.total()
        more += [(place, other, share * count) for other, count in counts.items() if other != own]
        weights[place] -= share * (counts.total() - counts[own])
    return {**encoded, "weights": weights, "openings": more}
