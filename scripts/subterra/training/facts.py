"""What an agent has to know by heart, learned where it is decided.

A fact is a few tokens among a thousand, and of those most follow from the first: after "Settings, Apps, " one token
tells one system's menu from the other's. So that token counts more.
"""

from collections import defaultdict
from collections.abc import Iterator

from subterra.training.tokens import Encoded


class Facts:
    """Conversations in which a token counts `weight` times as much where facts part.

    Facts are the values that the agent says and nobody had said. They part where those of one name are alike up to
    there, and go on with different tokens. Where that is, is learned from the conversations that come first.
    """

    def __init__(self, weight: float):
        self.weight = weight
        self.following: defaultdict[tuple, set[int]] = defaultdict(set)

    def __call__(self, encoded: list[Encoded]) -> list[Encoded]:
        """Return the encoded conversations with other weights."""
        if self.weight == 1:
            return encoded
        facts = [list(_recalled(one)) for one in encoded]
        if not self.following:
            for one, found in zip(encoded, facts, strict=True):
                for so_far, place in found:
                    self.following[so_far].add(one["input_ids"][place])
        return [self._weighed(one, found) for one, found in zip(encoded, facts, strict=True)]

    def _weighed(self, encoded: Encoded, facts: list) -> Encoded:
        weights = list(encoded["weights"])
        for so_far, place in facts:
            if len(self.following.get(so_far, ())) > 1:
                weights[place] *= self.weight
        return {**encoded, "weights": weights}


def _recalled(encoded: Encoded) -> Iterator[tuple[tuple, int]]:
    """Yield (name of the fact and its tokens so far, place) of each token of a fact."""
    names, so_far, last = dict(encoded["valued"]), (), None
    for place in encoded["recalled"]:
        if place - 1 != last or so_far[0] != names[place]:
            so_far = (names[place],)
        yield so_far, place
        so_far, last = (*so_far, encoded["input_ids"][place]), place
