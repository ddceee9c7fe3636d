"""The acyclic graph of all states, where it can be held: counting, ranking and drawing paths."""

import random
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise, repeat

from subterra.paths.steps import MOST_LOOKS, Path, Steps, parts

MOST_STATES = 200_000  # beyond, paths are counted only while they may still be fewer than asked for


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
                covered |= parts([self.nodes[state] for state in walk])
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
