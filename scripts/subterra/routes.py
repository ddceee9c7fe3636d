"""What holds on every route through a flowchart: what can be reached, what was said by then, which draws get there."""

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

from subterra.flowchart import Flowchart, Node, Way
from subterra.text import names

MOST_STATES = 50_000

State = tuple[str, tuple[tuple[str, frozenset[str]], ...]]
Edge = tuple[str, str]
T = TypeVar("T", bound=Hashable)


def reach(edges: dict[T, list[T]], sources: Iterable[T]) -> set[T]:
    """Return what can be reached from the sources.

    >>> sorted(reach({"a": ["b"], "b": ["a"], "c": ["a"]}, ["a"]))
    ['a', 'b']
    """
    reached = set(sources)
    waiting = deque(reached)
    while waiting:
        for target in edges[waiting.popleft()]:
            if target not in reached:
                reached.add(target)
                waiting.append(target)
    return reached


def said_on(node: Node, way: Way) -> frozenset[str]:
    """Return the variables that are said when a node is left by a way: all its phrasings name the same."""
    if node.speaker == "agent":
        return frozenset(node.demands)
    if node.speaker == "tool":
        return frozenset(name for template in way.result.values() for name in names(template))
    return frozenset(name for line in way.says or node.says for name in names(line))


def spoken_before(
    flowchart: Flowchart, said: Callable[[Node, Way], frozenset[str]] = said_on
) -> dict[str, frozenset[str]]:
    """Return for every node the variables whose value was said on every route to it.

    A forward must-analysis: routes meet in an intersection, and a node that nothing reaches knows everything.
    """
    everything = frozenset(flowchart.variables)
    said_by = {(node.id, way.to): said(node, way) for node in flowchart.nodes.values() for way in node.ways}
    spoken = dict.fromkeys(flowchart.nodes, everything)
    if flowchart.start:
        spoken[flowchart.start] = frozenset()
    waiting = deque(flowchart.nodes)
    queued = set(waiting)
    while waiting:
        name = waiting.popleft()
        queued.discard(name)
        for way in flowchart.nodes[name].ways:
            known = spoken[way.to] & (spoken[name] | said_by[name, way.to])
            if known != spoken[way.to]:
                spoken[way.to] = known
                if way.to not in queued:
                    queued.add(way.to)
                    waiting.append(way.to)
    return spoken


def restrict(allowed: dict[str, frozenset[str]], where: dict[str, tuple[str, ...]]) -> dict[str, frozenset[str]] | None:
    """Return what a draw may still be after a way with `where`, or None where nothing is left.

    >>> restrict({"tier": frozenset({"basic"})}, {"tier": ("premium",)}) is None
    True
    """
    if not where:
        return allowed
    after = dict(allowed)
    for name, values in where.items():
        after[name] = after[name] & frozenset(values) if name in after else frozenset(values)
        if not after[name]:
            return None
    return after


def barred(flowchart: Flowchart, sound: set[str], ends: Iterable[str]) -> set[Edge]:
    """Return the edges between sound nodes that no draw can take on a route from the start to an end.

    All variables are looked at together; where that makes too many states, one by one, which finds what each
    of them bars alone.
    """
    named = sorted({name for node in flowchart.nodes.values() for way in node.ways for name in way.where})
    edges = {edge for edge in flowchart.edges if sound.issuperset(edge)}
    if not named:
        return set()
    taken = _taken(flowchart, sound, set(ends), frozenset(named))
    if taken is not None:
        return edges - taken
    alone = (_taken(flowchart, sound, set(ends), frozenset({name})) for name in named)
    return set().union(*(edges - taken for taken in alone if taken is not None))


def _taken(flowchart: Flowchart, sound: set[str], ends: set[str], heeded: frozenset[str]) -> set[Edge] | None:
    """Return the edges that some draw takes, heeding the `where` of some variables; None past MOST_STATES."""
    start: State = (flowchart.start, ())
    came_from: dict[State, list[State]] = {start: []}
    waiting = deque([start] if flowchart.start in sound else [])
    while waiting:
        if len(came_from) > MOST_STATES:
            return None
        state = waiting.popleft()
        for way in flowchart.nodes[state[0]].ways:
            where = {name: values for name, values in way.where.items() if name in heeded}
            after = restrict(dict(state[1]), where)
            if after is None or way.to not in sound:
                continue
            following = (way.to, tuple(sorted(after.items())))
            if following not in came_from:
                came_from[following] = []
                waiting.append(following)
            came_from[following].append(state)
    alive = reach(came_from, [state for state in came_from if state[0] in ends])
    return {(before[0], state[0]) for state in alive for before in came_from[state]}
