"""Counting, deriving and covering the paths of a flowchart.

A rule says what a path may repeat: `simple` (no node twice), `trail` (no edge twice), `visits: k` (no node more than
k times). What may still follow depends only on the node, on what is left to use inside the present cycle (strongly
connected component) and on what the ways' `where` have left of the draw. Whatever can no longer be reached or is no
longer asked is forgotten, so that many prefixes share a state. The states form an acyclic graph, and on it paths are
counted by dynamic programming and named by their rank, which makes listing and drawing them a matter of numbers.
Where there are too many states (a dense tangle), seeded walks that know a way out at every step take samples instead.
"""

import heapq
import random
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count, pairwise, repeat
from typing import NamedTuple

import networkx as nx

from subterra.flowchart import Flowchart
from subterra.soundness import restrict
from subterra.text import digest

Path = tuple[str, ...]
MOST_STATES = 200_000  # beyond, paths are counted only while they may still be fewer than asked for
MOST_LOOKS = 4_000_000  # nodes looked at while states are explored, or on top of the walks' own length
WALKS = 20_000  # walks from the start; what is asked beyond branches off from them
MOST_CAME = 20  # draws looked at per node in the search for a way out
PATIENCE = 50  # walks in a row that lead nowhere new before the rest is listed in order
TRIES = 60  # steps tried towards an edge pair that a tangle may make impossible


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


# -- one step under a rule ---------------------------------------------------------------------------------------


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


# -- all states, where they can be held --------------------------------------------------------------------------


@dataclass
class StateGraph:
    """The acyclic graph of states. State 0 is the start; `ways_on[s]` holds the number of paths on from state s.

    A path's rank is its place among all paths in the order of their names.
    """

    nodes: list[str]
    after: list[list[int]]
    ways_on: list[int]

    @classmethod
    def build(cls, steps: Steps, limit: int) -> "StateGraph | None":
        """Explore the states from the start; None where there are too many.

        In an acyclic graph where every state leads on, there are more paths than ways less states. While that leaves
        open whether `limit` paths exist, some more states are explored: all paths may be wanted.
        """
        first = steps.start()
        number, order, after = {first: 0}, [first], []
        ways, most = 0, MOST_STATES
        for state in order:
            following = []
            for new in steps.after(state):
                index = number.setdefault(new, len(order))
                if index == len(order):
                    order.append(new)
                following.append(index)
            after.append(following)
            ways += len(following)
            if len(order) > most and ways - len(after) <= limit:
                most = MOST_STATES + limit
            if len(order) > most or steps.looks > MOST_LOOKS + 10 * limit:
                return None
        nodes = [state.name for state in order]
        ways_on = _count_on(after, {index for index, name in enumerate(nodes) if name in steps.ends})
        kept = [[state for state in following if ways_on[state]] for following in after]
        return cls(nodes, kept, ways_on)

    @property
    def count(self) -> int:
        """The number of paths."""
        return self.ways_on[0]

    def at(self, ranks: Iterable[int]) -> Iterator[Path]:
        """Yield the paths at rising ranks. What a path shares with the one before it is not walked again."""
        names, after, ways_on = self.nodes, self.after, self.ways_on
        path, states, lasts = [names[0]], [0], [ways_on[0]]
        firsts = [0]  # rank of the first path through each state; `lasts` is one past its last path
        for rank in ranks:
            while rank >= lasts[-1]:
                del path[-1], states[-1], firsts[-1], lasts[-1]
            base = firsts[-1]
            following = after[states[-1]]
            while following:
                for new in following:
                    beyond = base + ways_on[new]
                    if rank < beyond:
                        break
                    base = beyond
                path.append(names[new])
                states.append(new)
                firsts.append(base)
                lasts.append(beyond)
                following = after[new]
            yield tuple(path)

    def sample(self, limit: int, seed: int) -> tuple[Path, ...]:
        """Return `limit` paths: first some that take every possible edge and edge pair, then uniform draws."""
        rng = random.Random(seed)
        ranks = self._covering(limit, rng)
        if self.count <= sys.maxsize:
            lots: Iterable[int] = rng.sample(range(self.count), limit)
        else:
            lots = map(rng.randrange, repeat(self.count))
        for lot in lots:
            if len(ranks) >= limit:
                break
            ranks.add(lot)
        return tuple(self.at(sorted(ranks)))

    def _covering(self, limit: int, rng: random.Random) -> set[int]:
        """Return ranks of paths that take every edge and edge pair, at most `limit`. The deepest come first."""
        before = self._before()
        ranks: set[int] = set()
        covered: set[Path] = set()
        for goal, states in reversed(self._goals().items()):
            if len(ranks) >= limit:
                break
            if goal not in covered:
                walk = [*self._back(states[0], before, covered, rng), *states]
                self._lead_on(walk, covered, rng)
                covered |= _parts([self.nodes[state] for state in walk])
                ranks.add(self._rank(walk))
        return ranks

    def _goals(self) -> dict[Path, tuple[int, ...]]:
        """Return every edge pair that a path takes (and edges that are a path of their own) with states for it."""
        nodes, after = self.nodes, self.after
        goals: dict[Path, tuple[int, ...]] = {}
        known: set[tuple[str, int]] = set()
        for first, following in enumerate(after):
            name = nodes[first]
            for second in following if self.ways_on[first] else ():
                if (name, second) in known:
                    continue
                known.add((name, second))
                if not first and not after[second]:
                    goals[name, nodes[second]] = (first, second)
                for third in after[second]:
                    goals.setdefault((name, nodes[second], nodes[third]), (first, second, third))
        return goals

    def _before(self) -> list[list[int]]:
        before: list[list[int]] = [[] for _ in self.nodes]
        for state, following in enumerate(self.after):
            for new in following if self.ways_on[state] else ():
                before[new].append(state)
        return before

    def _back(self, state: int, before: list[list[int]], covered: set[Path], rng: random.Random) -> list[int]:
        """Return states from the start to before `state`, through what is not covered yet where there is a choice."""
        walk: list[int] = []
        names, last = self.nodes, None
        while state:
            earlier = before[state]
            if last is not None:
                tail = (names[state], names[last])
                earlier = [new for new in earlier if (names[new], *tail) not in covered] or earlier
            state, last = rng.choice(earlier), state
            walk.append(state)
        return walk[::-1]

    def _lead_on(self, walk: list[int], covered: set[Path], rng: random.Random) -> None:
        """Extend a walk to an end, through what is not covered yet; where all is, every path is equally likely."""
        names = self.nodes
        while following := self.after[walk[-1]]:
            tail = (names[walk[-2]], names[walk[-1]])
            following = [new for new in following if (*tail, names[new]) not in covered] or following
            lot = rng.randrange(sum(self.ways_on[new] for new in following))
            for new in following:
                lot -= self.ways_on[new]
                if lot < 0:
                    break
            walk.append(new)

    def _rank(self, walk: list[int]) -> int:
        rank = 0
        for state, taken in pairwise(walk):
            for new in self.after[state]:
                if new == taken:
                    break
                rank += self.ways_on[new]
        return rank


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


def _parts(path: Iterable[str]) -> set[Path]:
    """Return the edges and edge pairs of one path."""
    path = tuple(path)
    return {*pairwise(path), *zip(path, path[1:], path[2:], strict=False)}


# -- samples where the states are too many -----------------------------------------------------------------------


class Walks:
    """Different paths by seeded walks. Every walk knows a way out, so that none ends in a dead end."""

    def __init__(self, steps: Steps, limit: int, seed: int):
        self.steps, self.limit = steps, limit
        self.rng = random.Random(seed)
        self.chosen: dict[Path, None] = {}
        self.missing: set[Path] = set()
        self._nearest: tuple[str, dict[str, int]] = ("", {})
        self.out = steps.away_from(sorted(steps.ends))
        steps.looks, self.most_looks = 0, MOST_LOOKS // 2

    def take(self) -> bool:
        """Fill `chosen` up to `limit`; True where it then holds all paths that exist."""
        start = self.steps.start()
        self._cover()
        self.most_looks = self.steps.looks + MOST_LOOKS // 2 + self.limit * (len(self.steps.graph) + 200)
        stale = walked = 0
        while self._wanted() and stale < PATIENCE:
            walk = [start]
            path = self._onward(walk)
            if path is None:
                break
            stale = 0 if self._keep(path) else stale + 1
            walked += 1
            if walked >= WALKS:
                self._branch(walk[: self.rng.randrange(len(walk)) + 1], max(1, self.limit // WALKS))
        return self._branch([start], self.limit) and not self.steps.unsure

    def _wanted(self) -> bool:
        return len(self.chosen) < self.limit and self.steps.looks < self.most_looks

    def _keep(self, path: Path) -> bool:
        """Take a path; False where it was known."""
        size = len(self.chosen)
        self.chosen[path] = None
        if self.missing:
            self.missing -= _parts(path)
        return len(self.chosen) > size

    # -- towards edges and edge pairs

    def _cover(self) -> None:
        """Take walks through every edge pair (and edges that are a path of their own), one after the other."""
        graph, start = self.steps.graph, self.steps.start_name
        goals = [(start, to) for to in graph.succ[start] if to in self.steps.ends]
        goals += [(a, b, c) for a, b in graph.edges for c in graph.succ[b]]
        self.rng.shuffle(goals)
        self.missing.update(goals)
        for search in (self._towards, self._groped):
            for goal in goals:
                if not self._wanted():
                    return
                path = search(goal) if goal in self.missing else None
                if path is not None:
                    self._keep(path)

    def _towards(self, goal: Path) -> Path | None:
        """Return a path through an edge pair by a way that leaves the pair, and if possible a way out, open."""
        steps, start = self.steps, self.steps.start()
        pair = self._through([State(goal[0], steps.entered[goal[0]], 0)], goal[1:])
        rest = steps.route(pair[-1], self.out) if pair else None
        if rest is None:
            self.missing.remove(goal)  # no way out, whatever comes before
            return None
        near = self._near(goal[0])
        for names in ((*goal, *rest), goal):
            route = steps.route(start, near, self._closed(names))
            walk = self._through([start], (*route, *goal[1:])) if route is not None else None
            path = self._onward(walk) if walk else None
            if path is not None:
                return path
        if route is None:
            self.missing.remove(goal)  # no way there leaves it open
        return None

    def _near(self, goal: str) -> dict[str, int]:
        if self._nearest[0] != goal:
            self._nearest = (goal, self.steps.away_from([goal]))
        return self._nearest[1]

    def _closed(self, names: Path) -> dict[int, int]:
        """Return what a way through these nodes uses up at once, by cycle."""
        closed: dict[int, int] = {}
        for source, target in pairwise(names):
            step, cycle = self.steps.step(source, target), self.steps.cycle[source]
            if step.low == step.top:
                closed[cycle] = closed.get(cycle, 0) | step.top
        return closed

    def _groped(self, goal: Path) -> Path | None:
        """Return a path through an edge pair by trying ways in any order, as long as they can still reach it."""
        near, closed = self._near(goal[0]), self._closed(goal)
        walk, open_ = [self.steps.start()], []
        for _ in range(TRIES):
            through = self._through(walk, goal[1:]) if walk[-1].name == goal[0] else None
            path = self._onward(through) if through else None
            if path is not None:
                return path
            choices = self.steps.moves(walk[-1])
            self.rng.shuffle(choices)
            open_.append(choices)
            while True:
                while open_ and not open_[-1]:
                    open_.pop()
                    walk.pop()
                if not open_:
                    return None
                new = open_[-1].pop()
                if new.name in near and self.steps.route(new, near, closed) is not None:
                    break
            walk.append(new)
        return None

    def _through(self, walk: list[State], names: Path) -> list[State] | None:
        """Return a walk led on through nodes, or None where that breaks the rule or contradicts the draw."""
        walk = list(walk)
        self.steps.looks += len(names)
        for name in names:
            new = self.steps.move(walk[-1], self.steps.step(walk[-1].name, name))
            if new is None:
                return None
            walk.append(new)
        return walk

    # -- on to an end

    def _onward(self, walk: list[State]) -> Path | None:
        """Walk on at random, half of the time to what is new, and return the path; None where no end can be reached.

        Once the search for other ways out has grown out of proportion, the known one is taken.
        """
        route = self.steps.route(walk[-1], self.out)
        enough = self.steps.looks + len(self.steps.graph) // 2 + 100
        while route and self.steps.looks < enough:
            new, route = next(self._live_moves(walk[-1], route, self._missing_after(walk)))
            walk.append(new)
        return None if route is None else (*(state.name for state in walk), *route)

    def _missing_after(self, walk: list[State]) -> Path:
        """Return, half of the time, the nodes that would complete a missing pair."""
        if not self.missing or self.rng.random() < 0.5:
            return ()
        tail = tuple(state.name for state in walk[-2:])
        return tuple(to for to in self.steps.graph.succ[tail[-1]] if (*tail, to) in self.missing)

    def _live_moves(self, state: State, route: Path, first: Path) -> Iterator[tuple[State, Path]]:
        """Yield the moves that lead on to an end, `first` first, each with its way out (`route` is one)."""
        for step in self._shuffled(self.steps.steps[state.name], first):
            new = self.steps.move(state, step)
            if new is not None:
                rest = route[1:] if step.to == route[0] else self.steps.route(new, self.out)
                if rest is not None:
                    yield new, rest

    def _shuffled(self, steps: list[Step], first: Path) -> Iterator[Step]:
        """Yield steps in any order, those to `first` before the others. Lots are drawn only when asked for."""
        early = [step for step in steps if step.to in first] if first else []
        for group in (early, [step for step in steps if step not in early] if early else list(steps)):
            while group:
                lot = int(self.rng.random() * len(group))
                group[lot], group[-1] = group[-1], group[lot]
                yield group.pop()

    def _branch(self, base: list[State], most: int) -> bool:
        """Keep up to `most` new paths that begin as `base`; True where all there are were kept.

        A depth-first search that takes the known way out first, so that nearly every step makes a path.
        """
        route = self.steps.route(base[-1], self.out)
        if not route:
            return True
        walk, open_ = list(base), [self._live_moves(base[-1], route, route[:1])]
        while open_ and self._wanted() and most:
            new, route = next(open_[-1], (None, ()))
            if new is None:
                open_.pop()
                walk.pop()
            elif not route:
                most -= self._keep((*(state.name for state in walk), new.name))
            else:
                walk.append(new)
                open_.append(self._live_moves(new, route, route[:1]))
        return not open_
