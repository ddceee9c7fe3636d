"""Samples where the states are too many to hold: seeded walks that know a way out at every step."""

import random
from collections.abc import Iterator
from itertools import pairwise

from subterra.paths.steps import MOST_LOOKS, Path, State, Step, Steps, parts

WALKS = 20_000  # walks from the start; what is asked beyond branches off from them
PATIENCE = 50  # walks in a row that lead nowhere new before the rest is listed in order
TRIES = 60  # steps tried towards an edge pair that a tangle may make impossible


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
            self.missing -= parts(path)
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
