"""Steps that few conversations take are read more often: what is seldom seen is not learned."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import median

from subterra.flowchart import ANSWERED, HEARD


def with_rare_again(rows: Sequence[Mapping], most: int) -> list[Mapping]:
    """Return conversation rows (records.CONVERSATION), and again those with an edge of the flowchart that few take.

    A row's rarest edge is compared with that of the usual row: where half as many rows take it, the row comes twice,
    and `most` times at the most, each with an id of its own, so that no two are changed alike.
    """
    edges = [_edges(row["nodes"]) for row in rows]
    taken = Counter(edge for found in edges for edge in found)
    rarest = [min(map(taken.__getitem__, found), default=len(rows)) for found in edges]
    usual = median(rarest) if rarest else 0
    times = [min(most, round(usual / count)) for count in rarest]
    again = ((row, turn) for row, often in zip(rows, times, strict=True) for turn in range(1, often))
    return [*rows, *({**row, "id": f"{row['id']} again {turn}"} for row, turn in again)]


def _edges(nodes: Sequence[str]) -> set[tuple[str, str]]:
    """Return the edges of the flowchart on a path; interruptions may come anywhere and are none of them."""
    return {edge for edge in pairwise(nodes) if not any(node.endswith((HEARD, ANSWERED)) for node in edge)}
