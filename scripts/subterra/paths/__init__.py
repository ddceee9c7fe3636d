"""Counting, deriving and covering the paths of a flowchart.

A rule says what a path may repeat: `simple` (no node twice), `trail` (no edge twice), `visits: k` (no node more than
k times). What may still follow depends only on the node, on what is left to use inside the present cycle (strongly
connected component) and on what the ways' `where` have left of the draw. Whatever can no longer be reached or is no
longer asked is forgotten, so that many prefixes share a state. The states form an acyclic graph, and on it paths are
counted by dynamic programming and named by their rank, which makes listing and drawing them a matter of numbers.
Where there are too many states (a dense tangle), seeded walks that know a way out at every step take samples instead.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from subterra.flowchart import Flowchart
from subterra.paths.states import StateGraph
from subterra.paths.steps import Path, Steps
from subterra.paths.walks import Walks
from subterra.text import digest

__all__ = ["Derived", "Path", "derive", "edge_pairs_of", "edges_of", "path_id"]


@dataclass(frozen=True)
class Derived:
    """The paths of a flowchart. `count` is exact, or None where it exceeds what can be counted."""

    paths: tuple[Path, ...]
    count: int | None
    sampled: bool


def derive(flowchart: Flowchart, limit: int, seed: int = 1) -> Derived:
    """Return every path, or past `limit` a seeded sample of that size that covers edges and edge pairs first.

    Paths come sorted. Never recursive; the time grows with `limit` and is otherwise bounded by MOST_STATES and
    MOST_LOOKS, not by the number of paths.

    >>> from subterra.flowchart import Node, Way
    >>> def node(name, *ways):
    ...     return Node(name, "agent" if ways else "end", "", (), tuple(Way(to, "", (), {}) for to in ways))
    >>> nodes = {"ask": node("ask", "ask", "done"), "done": node("done")}
    >>> derive(Flowchart("toy", "", "", "ask", "trail", {}, nodes), limit=10).paths
    (('ask', 'ask', 'done'), ('ask', 'done'))
    """
    steps = Steps(flowchart)
    states = StateGraph.build(steps, limit)
    if states is None:
        walks = Walks(steps, limit, seed)
        complete = walks.take()
        return Derived(tuple(sorted(walks.chosen)), len(walks.chosen) if complete else None, not complete)
    if states.count <= limit:
        return Derived(tuple(states.at(range(states.count))), states.count, False)
    return Derived(states.sample(limit, seed), states.count, True)


def path_id(path: Path) -> str:
    """Return the name of a path: a digest of its node ids, the same whatever else the flowchart holds."""
    return digest("\n".join(path), 12)


def edges_of(paths: Iterable[Path]) -> set[tuple[str, str]]:
    """Return the edges that the paths take."""
    return {edge for path in paths for edge in pairwise(path)}


def edge_pairs_of(paths: Iterable[Path]) -> set[tuple[str, str, str]]:
    """Return the pairs of following edges that the paths take, as three node ids."""
    return {pair for path in paths for pair in zip(path, path[1:], path[2:], strict=False)}
