"""What an agent has to know by heart, learned where it is decided.

A fact is a few tokens among a thousand, and of those most follow from the first: after "Settings, Apps, " one token
tells one system's menu from the other's. So that token counts more.
"""

from collections import defaultdict
from collections.abc import Iterator

from subterra.training.tokens import Encoded


def with_weighed_facts(encoded: list[Encoded], weight: float) -> list[Encoded]:
    """Return the encoded conversations, in which a token counts `weight` times as much where facts part.

    Facts are the values that the agent says and nobody had said. They part where those of one name are alike up to
    there, and go on with different tokens.
    """
    if weight == 1:
        return encoded
    facts = [list(_recalled(one)) for one in encoded]
    following: defaultdict[tuple, set[int]] = defaultdict(set)
    for one, found in zip(encoded, facts, strict=True):
        for so_far, place in found:
            following[so_far].add(one["input_ids"][place])
    return [_weighed(one, found, following, weight) for one, found in zip(encoded, facts, strict=True)]


def _recalled(encoded: Encoded) -> Iterator[tuple[tuple, int]]:
    """Yield (name of the fact and its tokens so far, place) of each token of a fact."""
    names, so_far, last = dict(encoded["valued"]), (), None
    for place in encoded["recalled"]:
        if place - 1 != last or so_far[0] != names[place]:
            so_far = (names[place],)
        yield so_far, place
        so_far, last = (*so_far, encoded["input_ids"][place]), place


def _weighed(encoded: Encoded, facts: list, following: dict[tuple, set[int]], weight: float) -> Encoded:
    weights = list(encoded["weights"])
    for so_far, place in facts:
        if len(following[so_far]) > 1:
            weights[place] *= weight
    return {**encoded, "weights": weights}
