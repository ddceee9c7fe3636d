"""What a flowchart must hold as a whole, so that a model can learn it from conversations alone.

Every node lies between the start and an end; every branch shows in the dialogue; the agent never has to say a
value that nobody has told it. A draft with mistakes of form is checked as far as these leave no doubt.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from subterra.errors import shown
from subterra.flowchart import Flowchart, Node, Way
from subterra.spec_file import Place, SpecFile
from subterra.text import names

MOST_STATES = 50_000

State = tuple[str, tuple[tuple[str, frozenset[str]], ...]]
Edge = tuple[str, str]
T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True)
class Draft:
    """A flowchart as far as it could be read, the place of each way, and nodes that lost a way or their role.

    Every way leads to a node. `start` is "" where it could not be read.
    """

    flowchart: Flowchart
    places: dict[Edge, Place]
    lost: frozenset[str]


def check(spec: SpecFile, draft: Draft) -> None:
    """Note every mistake of a flowchart in `spec`."""
    if draft.flowchart.nodes:
        Inspector(spec, draft).inspect()


class Inspector:
    """Looks at one draft. What a mistake of form has marred is taken as if it were right."""

    def __init__(self, spec: SpecFile, draft: Draft):
        self.spec = spec
        self.flowchart = draft.flowchart
        self.places = draft.places
        self.lost = draft.lost
        self.marred = spec.marred()
        self.line_places: dict[Place, dict[str, Place]] = {}

    def inspect(self) -> None:
        ending = self.reach_an_end()
        reached = self.reached()
        hubs = [node for node in self.flowchart.nodes.values() if len(node.ways) > 1]
        for node in hubs:
            self.branches_are_named(node)
        for node in self.flowchart.nodes.values():
            self.words_name_the_same(node)
        spoken = spoken_before(self.flowchart, self.said)
        for node in self.flowchart.nodes.values():
            self.agent_knows(node, spoken[node.id])
        for node in hubs:
            if node.role == "user":
                self.words_tell_apart(node)
            elif node.role == "agent":
                self.facts_tell_apart(node, spoken[node.id] | frozenset(node.demands))
        self.restrictions_agree(reached & ending)

    # -- the graph -------------------------------------------------------------------------------------------

    def reached(self) -> set[str]:
        """Check that a way leads to every node from the start; return those to which one does."""
        start, nodes = self.flowchart.start, self.flowchart.nodes
        if not start:
            return set(nodes)
        if nodes[start].role == "end":
            message = "a conversation needs a turn before its end: start at another node"
            self.spec.mistake(("start",), f"'{start}' is an end: {message}")
        forwards = {name: [way.to for way in node.ways] for name, node in nodes.items()}
        found = reach(forwards, [start])
        unreached = [name for name in nodes if name not in found]
        for name in _first_of_islands(forwards, unreached) if self.lost else unreached:
            message = f"no way leads here from {start}: add one, or take the node out"
            self.spec.mistake(("nodes", name), f"'{name}': {message}")
        return found

    def reach_an_end(self) -> set[str]:
        """Check that there is an end and that every node leads to one; return those that do, or may."""
        nodes, ends = self.flowchart.nodes, self.flowchart.ends
        if not ends:
            if all(node.role for node in nodes.values()):
                message = "give at least one node `role: end` and an outcome"
                self.spec.mistake(("nodes",), f"no end among {len(nodes)} nodes: {message}")
            return set(nodes)
        backwards: dict[str, list[str]] = {name: [] for name in nodes}
        for source, target in self.flowchart.edges:
            backwards[target].append(source)
        found = reach(backwards, {*ends, *self.lost})
        for name in nodes:
            if name not in found:
                message = "no way leads from here to an end: add one"
                self.spec.mistake(("nodes", name), f"'{name}': {message}")
        return found

    # -- branches --------------------------------------------------------------------------------------------

    def branches_are_named(self, node: Node) -> None:
        """Check that no two ways out of a hub have the same `when` (a missing one is a matter of form)."""
        seen: dict[str, str] = {}
        for way in self.as_written(node):
            when = way.when.casefold()
            if when and when in seen:
                place = (*self.places[node.id, way.to], "when")
                message = f"is also the `when` of the way to {seen[when]}: say what sets them apart"
                self.spec.mistake(place, f"'{shown(way.when)}' {message}")
            seen.setdefault(when, way.to)

    def words_tell_apart(self, node: Node) -> None:
        """Check that a customer never says the same on two ways."""
        owner: dict[str, str] = {}
        for way in self.as_written(node):
            for line in way.says:
                if owner.setdefault(line.casefold(), way.to) != way.to:
                    message = (
                        f"is also said on the way to {owner[line.casefold()]}: nothing in the dialogue "
                        "explains this branch: say what sets them apart"
                    )
                    self.spec.mistake(self.line_place(node, way, line), f"'{shown(line)}' {message}")

    def facts_tell_apart(self, node: Node, known: frozenset[str]) -> None:
        """Check that values already said decide which way an agent takes."""
        ways = [way for way in self.as_written(node) if self.where_place(node, way) not in self.marred]
        for way in ways:
            self.fact_is_known(node, way, known)
        for way, other in _both_hold([way for way in ways if way.where]):
            message = f"{node.id} -> {way.to} and -> {other.to} can both hold"
            self.spec.mistake(self.where_place(node, way), f"{message}: make their `where` exclude each other")

    def fact_is_known(self, node: Node, way: Way, known: frozenset[str]) -> None:
        place, unexplained = self.where_place(node, way), "nothing in the dialogue explains this branch"
        if not way.where:
            message = f"{unexplained}: add `where` over a value already said"
            self.spec.mistake(place, f"{node.id} -> {way.to}: {message}")
        for name in way.where:
            if name not in known:
                message = f"{name} may not have been said by then: {unexplained}: let somebody say it before"
                self.spec.mistake((*place, name), f"{node.id} -> {way.to}: {message}")

    def restrictions_agree(self, sound: set[str]) -> None:
        """Check that every `where` can hold on some route through sound nodes, given the others on it."""
        if not self.flowchart.start:
            return
        ends = {*self.flowchart.ends, *self.lost} if self.flowchart.ends else sound
        for source, target in sorted(_barred(self.flowchart, sound, ends)):
            way = self.flowchart.way(source, target)
            if way.where:
                where = ", ".join(f"{name}: {shown(list(values))}" for name, values in way.where.items())
                message = "no draw allows it with those of the other ways on any route: widen one of them"
                self.spec.mistake(
                    (*self.places[source, target], "where"),
                    f"{source} -> {target}: contradictory `where` {{{where}}}: {message}",
                )

    # -- words -----------------------------------------------------------------------------------------------

    def said(self, node: Node, way: Way) -> frozenset[str]:
        """Return the variables that are said when a node is left by a way; all, if in doubt.

        In doubt are words with mistakes, and those that are left to a teacher model.
        """
        if node.speaker == "agent":
            in_doubt = ("nodes", node.id, "prompt") in self.marred
        else:
            in_doubt = not (way.says or node.says) or not self.clear(node) or not self.clear(node, way)
        return frozenset(self.flowchart.variables) if in_doubt else said_on(node, way)

    def agent_knows(self, node: Node, spoken: frozenset[str]) -> None:
        """Check that an agent is never asked for a value that nobody has said on some route."""
        place = ("nodes", node.id, "prompt")
        for name in node.demands:
            if name in self.flowchart.variables and name not in spoken:
                message = "let the customer say it before, or drop it"
                self.spec.mistake(place, f"{{{name}}}: on some route to {node.id} nobody has said it yet: {message}")

    def words_name_the_same(self, node: Node) -> None:
        """Check phrasings against what they stand for: an agent's prompt, or a customer's other phrasings."""
        if not self.clear(node):
            return
        if node.speaker == "agent":
            self.agent_names(node)
        elif node.role == "user":
            for way in node.ways:
                if self.clear(node, way):
                    self.customer_names(node, way)

    def agent_names(self, node: Node) -> None:
        demanded = frozenset(node.demands)
        for line in node.says:
            said = frozenset(names(line))
            for name in sorted(demanded - said):
                message = f"does not say {{{name}}}, which the prompt names: add it"
                self.spec.mistake(self.line_place(node, None, line), f"'{shown(line)}' {message}")
            for name in sorted(said - demanded):
                message = f"says {{{name}}}, which the prompt does not name: name it there or drop it"
                self.spec.mistake(self.line_place(node, None, line), f"'{shown(line)}' {message}")

    def customer_names(self, node: Node, way: Way) -> None:
        lines = way.says or node.says
        everything = frozenset(name for line in lines for name in names(line))
        for line in lines:
            for name in sorted(everything - set(names(line))):
                place = self.line_place(node, way if way.says else None, line)
                message = f"does not say {{{name}}}, as the other phrasings do: add it, or drop it there"
                self.spec.mistake(place, f"'{shown(line)}' {message}")

    # -- places ----------------------------------------------------------------------------------------------

    def clear(self, node: Node, way: Way | None = None) -> bool:
        """Tell whether the words of a node or of a way are free of mistakes of form."""
        base = self.places[node.id, way.to] if way else ("nodes", node.id)
        return not self.marred & {(*base, "prompt"), (*base, "says")}

    def as_written(self, node: Node) -> list[Way]:
        """Return the ways in the order of the file (the canonical order is another one)."""
        return sorted(node.ways, key=lambda way: self.places[node.id, way.to])

    def where_place(self, node: Node, way: Way) -> Place:
        return (*self.places[node.id, way.to], "where")

    def line_place(self, node: Node, way: Way | None, line: str) -> Place:
        """Find a phrasing in the file."""
        base = (*(self.places[node.id, way.to] if way else ("nodes", node.id)), "says")
        if base not in self.line_places:
            written = self.spec.data
            for part in base:
                written = written[part]
            written = [written] if isinstance(written, str) else written
            found = {" ".join(text.split()): (*base, index) for index, text in enumerate(written)}
            self.line_places[base] = found
        return self.line_places[base][line]


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


def _first_of_islands(edges: dict[str, list[str]], unreached: list[str]) -> Iterator[str]:
    """Yield few of the unreached nodes, from which all the others can be reached."""
    led_to = {target for name in unreached for target in edges[name]}
    found: set[str] = set()
    for name in sorted(unreached, key=lambda name: name in led_to):
        if name not in found:
            yield name
            found |= reach(edges, [name])


def said_on(node: Node, way: Way) -> frozenset[str]:
    """Return the variables that are said when a node is left by a way: all its phrasings name the same."""
    if node.speaker == "agent":
        return frozenset(node.demands)
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


def _both_hold(ways: list[Way]) -> Iterator[tuple[Way, Way]]:
    """Yield each way that can hold together with an earlier one, and that one."""
    shared = set(ways[0].where).intersection(*(way.where for way in ways)) if ways else set()
    by_value: dict[str, list[Way]] = defaultdict(list)
    for index, way in enumerate(ways):
        rivals: Iterable[Way] = ways[:index]
        if shared:  # only ways that agree on a value of the first shared variable can hold together
            values = way.where[min(shared)]
            rivals = [rival for value in values for rival in by_value[value]]
            for value in values:
                by_value[value].append(way)
        found = next((rival for rival in rivals if _agree(way, rival)), None)
        if found:
            yield way, found


def _agree(way: Way, other: Way) -> bool:
    return all(not set(way.where[name]).isdisjoint(other.where[name]) for name in way.where.keys() & other.where)


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


def _barred(flowchart: Flowchart, sound: set[str], ends: Iterable[str]) -> set[Edge]:
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
