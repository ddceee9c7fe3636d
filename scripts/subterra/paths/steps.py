"""What may follow a state under a path rule, and which ways lead out of a tangle."""

import heapq
from collections import deque
from collections.abc import Iterable
from itertools import count, pairwise
from typing import NamedTuple

import networkx as nx

from subterra.flowchart import Flowchart
from subterra.routes import restrict

Path = tuple[str, ...]
MOST_LOOKS = 4_000_000  # nodes looked at while states are explored, or on top of the walks' own length
MOST_CAME = 20  # draws looked at per node in the search for a way out


def parts(path: Iterable[str]) -> set[Path]:
    """Return the edges and edge pairs of one path."""
    path = tuple(path)
    return {*pairwise(path), *zip(path, path[1:], path[2:], strict=False)}


class State(NamedTuple):
    """Where a path stands: its node, the bits used up in the node's cycle, the number of what a draw may be."""

    name: str
    used: int
    draw: int


class Step(NamedTuple):
    """A way out of a node. Within a cycle it takes one more bit of `field` and is closed once `top` is taken."""

    to: str
    low: int
    field: int
    top: int
    where: dict[str, tuple[str, ...]]
    number: int


class Cycle(NamedTuple):
    """A strongly connected component: its size, and the bits of all it can use (`tops` are the last of each field)."""

    size: int
    bits: int
    tops: int


class Steps:
    """What may follow a state under the flowchart's rule. Ways are in the order of their targets' names."""

    def __init__(self, flowchart: Flowchart):
        rule = flowchart.rule
        self.by_edge = rule == "trail"
        self.width = int(rule.removeprefix("visits:")) if rule.startswith("visits") else 1
        self.start_name, self.ends = flowchart.start, frozenset(flowchart.ends)
        self.looks, self.unsure = 0, False
        graph = nx.DiGraph()
        graph.add_nodes_from(sorted(flowchart.nodes))
        graph.add_edges_from(edge for edge in sorted(flowchart.edges) if edge[0] not in self.ends)
        self.graph = graph
        self._counter = count()
        self.cycle: dict[str, int] = {}
        self.cycles: list[Cycle] = []
        self.entered: dict[str, int] = {}
        self.steps: dict[str, list[Step]] = {name: [] for name in graph}
        for nodes in nx.strongly_connected_components(graph):
            self._lay_out(flowchart, sorted(nodes))
        self.inner = {name: [(step.to, step.top) for step in steps if step.top] for name, steps in self.steps.items()}
        self.leaving = {
            name for name, steps in self.steps.items() if name in self.ends or any(not s.top for s in steps)
        }
        self._live = _asked_from(graph, flowchart)
        self._draws: list[dict[str, frozenset[str]]] = [{}]
        self._numbers: dict[frozenset, int] = {frozenset(): 0}
        self._narrowed: dict[tuple[int, int], int | None] = {}

    def _lay_out(self, flowchart: Flowchart, nodes: list[str]) -> None:
        """Give every node (by `trail` every edge) of a cycle its field of bits, and list the steps of its nodes."""
        width, number = self.width, len(self.cycles)
        field = (1 << width) - 1
        places = {name: index * width for index, name in enumerate(nodes)}
        edges = 0
        cyclic = len(nodes) > 1 or self.graph.has_edge(nodes[0], nodes[0])
        for name in nodes:
            self.cycle[name] = number
            self.entered[name] = 1 << places[name] if cyclic and not self.by_edge else 0
            ways = flowchart.nodes[name].ways if name not in self.ends else ()
            for way in sorted(ways, key=lambda way: way.to):
                low = bits = top = 0
                if way.to in places:
                    place = edges if self.by_edge else places[way.to]
                    low, bits, top = 1 << place, field << place, 1 << place + width - 1
                    edges += 1
                self.steps[name].append(Step(way.to, low, bits, top, way.where, next(self._counter)))
        fields = edges if self.by_edge else len(nodes)
        tops = sum(1 << index * width + width - 1 for index in range(fields)) if cyclic else 0
        self.cycles.append(Cycle(len(nodes), (1 << fields * width) - 1 if cyclic else 0, tops))

    def start(self) -> State:
        """Return the state of every path's first node."""
        return State(self.start_name, self.entered[self.start_name], 0)

    def moves(self, state: State) -> list[State]:
        """Return the states that may follow by the rule and the draw."""
        return [new for step in self.steps[state.name] if (new := self.move(state, step)) is not None]

    def move(self, state: State, step: Step) -> State | None:
        """Return the state after one step, or None where the rule or the draw forbids it."""
        used = state.used
        if used & step.top or (left := self._narrow(state.draw, step)) is None:
            return None
        if step.top:
            used |= ((used & step.field) << 1 | step.low) & step.field
        else:
            used = self.entered[step.to]  # leaving a cycle forgets what was used there
        return State(step.to, used, left)

    def after(self, state: State) -> list[State]:
        """Return the states that may follow and can leave their cycle, each without what it can no longer reach."""
        found = []
        for new in self.moves(state):
            used = self._reach(new.name, new.used) if self.cycles[self.cycle[new.name]].bits else 0
            if used is not None:
                found.append(State(new.name, used, new.draw))
        return found

    def step(self, source: str, target: str) -> Step:
        """Return the step from one node to another."""
        return next(step for step in self.steps[source] if step.to == target)

    def away_from(self, goals: Iterable[str]) -> dict[str, int]:
        """Return how many edges away from the nearest goal every node is that leads to one."""
        away = dict.fromkeys(goals, 0)
        waiting = deque(away)
        while waiting:
            name = waiting.popleft()
            self.looks += 1
            for earlier in self.graph.pred[name]:
                if earlier not in away:
                    away[earlier] = away[name] + 1
                    waiting.append(earlier)
        return away

    def route(self, state: State, away: dict[str, int], closed: dict[int, int] | None = None) -> Path | None:
        """Return names on from a state to a goal (where `away` is 0), or None where there is no such way.

        It is enough to search nodes and draws, with what is used (and `closed`, bits by cycle) as it is: where the
        way found meets a node twice, what lies between is cut out, and that only leaves more of the draw.
        A search that grows out of proportion is given up, which `unsure` then says.
        """
        if not away.get(state.name):
            return () if state.name in away else None
        taken = {self.cycle[state.name]: state.used}
        for cycle, bits in (closed or {}).items():
            taken[cycle] = taken.get(cycle, 0) | bits
        first = (state.name, state.draw)
        came: dict[tuple[str, int], tuple[str, int] | None] = {first: None}
        waiting = [(away[state.name], 0, *first)]
        while waiting:
            distance, _, name, draw = heapq.heappop(waiting)
            self.looks += 1
            if len(came) > MOST_CAME * len(self.graph):
                self.unsure = True
                return None
            used = taken.get(self.cycle[name], 0)
            steps = self.steps[name]
            if distance == 1:  # a goal beside this node comes before all other ways
                steps = [*(step for step in steps if not away.get(step.to, 1)), *steps]
            for step in steps:
                if used & step.top or step.to not in away:
                    continue
                left = self._narrow(draw, step)
                new = (step.to, left)
                if left is not None and new not in came:
                    came[new] = (name, draw)
                    if not away[step.to]:
                        return _without_loops(new, came)
                    heapq.heappush(waiting, (away[step.to], len(came), *new))
        return None

    def _reach(self, name: str, used: int) -> int | None:
        """Mark as used what can no longer be reached in the cycle; None where it can no longer be left."""
        cycle = self.cycles[self.cycle[name]]
        free = cycle.tops & ~used
        live, leaves = 0, name in self.leaving
        seen, waiting = {name}, [name]
        while waiting and live != free and len(seen) < cycle.size:
            for to, top in self.inner[waiting.pop()]:
                if not used & top:
                    live |= top
                    if to not in seen:
                        seen.add(to)
                        waiting.append(to)
                        leaves = leaves or to in self.leaving
        self.looks += len(seen)
        if not leaves:
            return None
        if live == free or len(seen) == cycle.size:
            return used
        return used | cycle.bits & ~((live << 1) - (live >> self.width - 1))

    def _narrow(self, draw: int, step: Step) -> int | None:
        """Return the number of what a step leaves of a draw, as far as it is asked again; None for nothing."""
        if not draw and not step.where:
            return 0
        key = (draw, step.number)
        if key not in self._narrowed:
            left = restrict(self._draws[draw], step.where)
            self._narrowed[key] = None if left is None else self._number(left, self._live[step.to])
        return self._narrowed[key]

    def _number(self, left: dict[str, frozenset[str]], live: frozenset[str]) -> int:
        left = {name: values for name, values in left.items() if name in live}
        key = frozenset(left.items())
        if key not in self._numbers:
            self._numbers[key] = len(self._draws)
            self._draws.append(left)
        return self._numbers[key]


def _without_loops(last: tuple[str, int], came: dict) -> Path:
    """Return the names after the first one on the way that `came` tells."""
    route = [last[0]]
    while came[last] is not None:
        last = came[last]
        route.append(last[0])
    place: dict[str, int] = {}
    for name in reversed(route):
        for passed in list(place)[place[name] + 1 :] if name in place else ():
            del place[passed]
        place.setdefault(name, len(place))
    return tuple(place)[1:]


def _asked_from(graph: nx.DiGraph, flowchart: Flowchart) -> dict[str, frozenset[str]]:
    """Return for every node the variables that some `where` from there on asks for."""
    asked = {
        name: frozenset(variable for way in flowchart.nodes[name].ways for variable in way.where) for name in graph
    }
    waiting = deque(name for name in graph if asked[name])
    while waiting:
        name = waiting.popleft()
        for earlier in graph.pred[name]:
            if not asked[name] <= asked[earlier]:
                asked[earlier] |= asked[name]
                waiting.append(earlier)
    return asked
