"""What a turn of the agent may begin with, instead of what it happened to begin with.

A step of the agent can be said in several ways, and which of them a conversation took is chance. To learn the first
token of each turn as it stands is to learn that chance as well, and its noise hides from a small model what matters
there: which step comes next. So that token is learned with all first tokens that the step had, by their frequency.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from subterra.training.tokens import Encoded


def with_openings(rows: Sequence[Mapping], encoded: list[Encoded], smoothing: float) -> list[Encoded]:
    """Return the encoded conversations of rows (records.CONVERSATION), each with `openings`: more labels.

    They are (place, label, weight). Of the weight that the first token of a turn has, `smoothing` (0 to 1) is shared
    out among the first tokens of that step in all rows. A turn that begins with one of its values keeps its own:
    another conversation has other values.
    """
    if not smoothing:
        return encoded
    turns = [list(_openings(row, one)) for row, one in zip(rows, encoded, strict=True)]
    seen: defaultdict[tuple, Counter] = defaultdict(Counter)
    for row_turns, one in zip(turns, encoded, strict=True):
        for step, token in row_turns:
            seen[step][one["input_ids"][token]] += 1
    return [_shared(row_turns, one, seen, smoothing) for row_turns, one in zip(turns, encoded, strict=True)]


def _openings(row: Mapping, encoded: Encoded) -> Iterator[tuple[tuple, int]]:
    """Yield (step, place of its first token) of the agent's turns that do not begin with a value."""
    said = [turn for turn in row["turns"] if turn["role"] == "assistant"]
    for turn, place in zip(said, encoded["begins"], strict=True):
        if not turn["content"].startswith(tuple(turn["values"].values())):
            yield tuple(turn["nodes"]), place


def _shared(turns: Sequence[tuple[tuple, int]], encoded: Encoded, seen: Mapping, smoothing: float) -> Encoded:
    weights, more = list(encoded["weights"]), []
    for step, place in turns:
        share = smoothing * weights[place] / seen[step].total()
        own = encoded["input_ids"][place]
        more += [(place, other, share * count) for other, count in seen[step].items() if other != own]
        weights[place] -= share * (seen[step].total() - seen[step][own])
    return {**encoded, "weights": weights, "openings": more}
