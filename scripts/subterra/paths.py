"""Counting, deriving and covering the paths of a flowchart.

A rule says what a path may repeat: `simple` (no node twice), `trail` (no edge twice), `visits: k` (no node more than
k times). What may still follow depends only on the node, on what was used inside the present cycle (strongly
connected component) and on what the ways' `where` have left of the draw. These states form an acyclic graph, and on it
paths are counted by dynamic programming, listed without dead ends, drawn uniformly and steered through any edge pair.
Where there are too many states (a dense tangle), a seeded walk that never enters a dead end takes samples instead.
"""

import random
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import networkx as nx

from subterra.flowchart import Flowchart
from subterra.soundness import restrict
from subterra.text import digest

Path = tuple[str, ...]
MOST_STATES = 200_000
PATIENCE = 50  # walks without anything new before a sample is taken as complete


@dataclass(frozen=True)
class Derived:
    """The paths of a flowchart. `count` is exact, or None where it exceeds what can be counted."""

    paths: tuple[Path, ...]
    count: int | None
    sampled: bool


def derive(flowchart: Flowchart, limit: int, seed: int = 1) -> Derived:
    """Return every path, or past `limit` a seeded sample of that size that covers edges and edge pairs first.

    Paths come in a fixed order. Never recursive; the time is bounded by `limit` and MOST_STATES, not by the count.
    """
    steps = Steps(flowchart)
    states = StateGraph.build(steps, MOST_STATES)
    if states is None:
        return Derived(_wander(steps, limit, seed), None, True)
    count = states.count
    if count <= limit:
        return Derived(tuple(sorted(states.every())), count, False)
    return Derived(states.sample(limit, seed), count, True)


def path_id(path: Path) -> str:
    """Return the name of a path: a digest of its node ids, the same whatever else the flowchart holds."""
    return digest("\n".join(path), 12)


def edges_of(paths: Iterable[Path]) -> set[tuple[str, str]]:
    """Return the edges that the paths take."""
    return {edge for path in paths for edge in zip(path, path[1:], strict=False)}


def edge_pairs_of(paths: Iterable[Path]) -> set[tuple[str, str, str]]:
    """Return the pairs of following edges that the paths take, as three node ids."""
    return {pair for path in paths for pair in zip(path, path[1:], path[2:], strict=False)}


# -- one step under a rule ---------------------------------------------------------------------------------------

State = tuple[str, frozenset, tuple]


@dataclass
class Steps:
    """What may follow a state (node, used within its cycle, allowed draws) under the flowchart's rule."""

    flowchart: Flowchart
    most: int = field(init=False)
    by_edge: bool = field(init=False)
    cycle: dict[str, int] = field(init=False)
    cyclic: set[int] = field(init=False)

    def __post_init__(self):
        rule = self.flowchart.rule
        self.by_edge = rule == "trail"
        self.most = int(rule.removeprefix("visits:")) if rule.startswith("visits") else 1
        graph = nx.DiGraph(self.flowchart.edges)
        graph.add_nodes_from(self.flowchart.nodes)
        self.cycle, self.cyclic = {}, set()
        for number, nodes in enumerate(nx.strongly_connected_components(graph)):
            self.cycle.update(dict.fromkeys(nodes, number))
            if len(nodes) > 1 or any(graph.has_edge(node, node) for node in nodes):
                self.cyclic.add(number)

    def start(self) -> State:
        name = self.flowchart.start
        return name, self._entered(name), ()

    def after(self, state: State) -> list[State]:
        """Return the states that may follow, in the flowchart's order."""
        name, used, allowed = state
        found = []
        for way in self.flowchart.nodes[name].ways:
            left = restrict(dict(allowed), way.where)
            inner = self._used_after(name, way.to, used)
            if left is not None and inner is not None:
                found.append((way.to, inner, tuple(sorted(left.items()))))
        return found

    def _entered(self, name: str) -> frozenset:
        return frozenset() if self.by_edge or self.cycle[name] not in self.cyclic else frozenset([(name, 1)])

    def _used_after(self, source: str, target: str, used: frozenset) -> frozenset | None:
        """Return what is used after an edge, or None where the rule forbids it. Leaving a cycle forgets it."""
        if self.cycle[source] != self.cycle[target]:
            return self._entered(target)
        if self.by_edge:
            return None if (source, target) in used else used | {(source, target)}
        times = next((times for node, times in used if node == target), 0)
        if times >= self.most:
            return None
        return (used - {(target, times)}) | {(target, times + 1)}


# -- all states, where they can be held --------------------------------------------------------------------------


@dataclass
class StateGraph:
    """The acyclic graph of states. State 0 is the start; `ways_on[s]` holds the number of paths on from state s."""

    nodes: list[str]
    after: list[list[int]]
    ways_on: list[int]

    @classmethod
    def build(cls, steps: Steps, most: int) -> "StateGraph | None":
        """Explore the states from the start; None where there are more than `most`."""
        first = steps.start()
        number = {first: 0}
        order, after = [first], []
        for state in order:
            following = []
            for new in steps.after(state):
                if new not in number:
                    if len(order) >= most:
                        return None
                    number[new] = len(order)
                    order.append(new)
                following.append(number[new])
            after.append(following)
        nodes = [state[0] for state in order]
        ends = {index for index, name in enumerate(nodes) if steps.flowchart.nodes[name].role == "end"}
        ways_on = _count_on(after, ends)
        kept = [[state for state in following if ways_on[state]] for following in after]
        return cls(nodes, kept, ways_on)

    @property
    def count(self) -> int:
        """The number of paths."""
        return self.ways_on[0]

    def every(self) -> Iterator[Path]:
        """Yield every path once. Dead ends are cut off, so each step leads to a path."""
        if not self.count:
            return
        names, after = self.nodes, self.after
        path = [names[0]]
        stack = [iter(after[0])]
        while stack:
            state = next(stack[-1], None)
            if state is None:
                stack.pop()
                path.pop()
            elif after[state]:
                path.append(names[state])
                stack.append(iter(after[state]))
            else:
                yield (*path, names[state])

    def sample(self, limit: int, seed: int) -> tuple[Path, ...]:
        """Return `limit` different paths: first some that take every possible edge and edge pair, then uniform draws."""
        rng = random.Random(seed)
        chosen: dict[Path, None] = {}
        covered: set[tuple] = set()
        before = self._before()
        for first, second, third in self._pairs():
            pair = (self.nodes[first], self.nodes[second], self.nodes[third])
            if pair not in covered and len(chosen) < limit:
                path = (*self._back(first, before, rng), *pair[1:], *self._on(third, rng)[1:])
                chosen[path] = None
                covered |= edge_pairs_of([path])
        stale = 0
        while len(chosen) < limit and stale < PATIENCE * limit:
            path = self._on(0, rng)
            stale = stale + 1 if path in chosen else 0
            chosen[path] = None
        return tuple(chosen)

    def _pairs(self) -> Iterator[tuple[int, int, int]]:
        for first, following in enumerate(self.after):
            for second in following if self.ways_on[first] else ():
                for third in self.after[second]:
                    yield first, second, third

    def _before(self) -> list[list[int]]:
        before: list[list[int]] = [[] for _ in self.nodes]
        for state, following in enumerate(self.after):
            for new in following if self.ways_on[state] else ():
                before[new].append(state)
        return before

    def _back(self, state: int, before: list[list[int]], rng: random.Random) -> Path:
        walk = [self.nodes[state]]
        while state:
            state = rng.choice(before[state])
            walk.append(self.nodes[state])
        return tuple(reversed(walk))

    def _on(self, state: int, rng: random.Random) -> Path:
        """Walk on to an end; every path on from here is equally likely."""
        walk = [self.nodes[state]]
        while self.after[state]:
            lot = rng.randrange(self.ways_on[state])
            for new in self.after[state]:
                lot -= self.ways_on[new]
                if lot < 0:
                    break
            state = new
            walk.append(self.nodes[state])
        return tuple(walk)


def _count_on(after: list[list[int]], ends: set[int]) -> list[int]:
    """Count the paths on from every state, in reverse topological order (the states have no cycle)."""
    waiting_for = [len(following) for following in after]
    before: list[list[int]] = [[] for _ in after]
    for state, following in enumerate(after):
        for new in following:
            before[new].append(state)
    ways_on = [0] * len(after)
    ready = deque(state for state, number in enumerate(waiting_for) if not number)
    while ready:
        state = ready.popleft()
        ways_on[state] = 1 if state in ends else sum(ways_on[new] for new in after[state])
        for earlier in before[state]:
            waiting_for[earlier] -= 1
            if not waiting_for[earlier]:
                ready.append(earlier)
    return ways_on


# -- samples where the states are too many -----------------------------------------------------------------------


def _wander(steps: Steps, limit: int, seed: int) -> tuple[Path, ...]:
    """Take `limit` different paths by seeded walks without dead ends, turning to what is not covered yet."""
    rng = random.Random(seed)
    chosen: dict[Path, None] = {}
    covered: set[tuple] = set()
    stale = 0
    while len(chosen) < limit and stale < PATIENCE:
        path = _walk(steps, covered, rng)
        stale = stale + 1 if path is None or path in chosen else 0
        if path is not None:
            chosen[path] = None
            covered |= edge_pairs_of([path]) | edges_of([path])
    return tuple(chosen)


def _walk(steps: Steps, covered: set[tuple], rng: random.Random) -> Path | None:
    """Walk to an end; at each step take a way that leads to one and, half of the time, one that is new."""
    state, path = steps.start(), [steps.flowchart.start]
    while steps.flowchart.nodes[state[0]].role != "end":
        ways = steps.after(state)
        rng.shuffle(ways)
        if rng.random() < 0.5:
            ways.sort(key=lambda new: (*path[-2:], new[0]) in covered)
        state = next((new for new in ways if _reaches_end(steps, new)), None)
        if state is None:
            return None
        path.append(state[0])
    return tuple(path)


def _reaches_end(steps: Steps, state: State) -> bool:
    """Say whether the cycle of a state can still be left (or ended). Outside it nothing has been used yet."""
    home = steps.cycle[state[0]]
    if home not in steps.cyclic:
        return True
    used = dict(state[1]) if not steps.by_edge else {}
    seen, waiting = {state[0]}, [state[0]]
    while waiting:
        name = waiting.pop()
        node = steps.flowchart.nodes[name]
        if node.role == "end":
            return True
        for way in node.ways:
            if steps.cycle[way.to] != home:
                return True
            free = (name, way.to) not in state[1] if steps.by_edge else used.get(way.to, 0) < steps.most
            if free and way.to not in seen:
                seen.add(way.to)
                waiting.append(way.to)
    return False
