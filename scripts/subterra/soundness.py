"""What a flowchart must hold as a whole, so that a model can learn it from conversations alone.

Every node lies between the start and an end; every branch shows in the dialogue; the agent never has to say a
value that nobody has told it. A draft with mistakes of form is checked as far as these leave no doubt.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from subterra.errors import shown
from subterra.flowchart import NEW, Flowchart, Interruption, Node, Way
from subterra.phrasings import forms
from subterra.routes import Edge, barred, reach, said_on, spoken_before
from subterra.spec_file import Place, SpecFile
from subterra.text import names

FORMS_COMPARED = 1000  # of a phrasing with alternatives, when two ways are compared


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
            if node.role == "tool":
                self.agent_goes_on(node)
        for node in hubs:
            if node.role == "user":
                self.words_tell_apart(node)
            elif node.role == "agent":
                self.facts_tell_apart(node, spoken[node.id] | frozenset(node.demands))
            elif node.role == "tool":
                self.results_tell_apart(node)
        self.restrictions_agree(reached & ending)
        for one in self.flowchart.interruptions.values():
            self.interruption_fits(one)

    # -- the graph -------------------------------------------------------------------------------------------

    def reached(self) -> set[str]:
        """Check that a way leads to every node from the start; return those to which one does."""
        start, nodes = self.flowchart.start, self.flowchart.nodes
        if not start:
            return set(nodes)
        if nodes[start].role == "end":
            message = "a conversation needs a turn before its end: start at another node"
            self.spec.mistake(("start",), f"'{start}' is an end: {message}")
        if nodes[start].role == "tool":
            message = "somebody has to speak before a tool is called: start at another node"
            self.spec.mistake(("start",), f"'{start}' is a tool: {message}")
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
                said = {owner.setdefault(form.casefold(), way.to): form for form in islice(forms(line), FORMS_COMPARED)}
                for other in sorted(said.keys() - {way.to}):
                    message = (
                        f"is also said on the way to {other}: nothing in the dialogue "
                        "explains this branch: say what sets them apart"
                    )
                    place = self.line_place((*self.places[node.id, way.to], "says"), line)
                    self.spec.mistake(place, f"'{shown(said[other])}' {message}")

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
        for source, target in sorted(barred(self.flowchart, sound, ends)):
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
        elif node.speaker == "tool":
            in_doubt = not way.result or (*self.places[node.id, way.to], "result") in self.marred
        else:
            in_doubt = not (way.says or node.says) or not self.clear(node) or not self.clear(node, way)
        return frozenset(self.flowchart.variables) if in_doubt else said_on(node, way)

    def agent_knows(self, node: Node, spoken: frozenset[str]) -> None:
        """Check that an agent is never asked for a value that nobody has said on some route."""
        flowchart = self.flowchart
        for name in node.demands:
            fact = flowchart.knowledge.get(name)
            needed = fact.of if fact else name
            if needed in flowchart.variables and needed not in spoken:
                what = f"{{{name}}} depends on {{{needed}}}" if fact else f"{{{name}}}"
                message = (
                    f"on some route to {node.id} nobody has said it yet: let the customer say it before, or drop it"
                )
                self.spec.mistake(("nodes", node.id, "prompt"), f"{what}: {message}")
        for name in node.asks:
            if name in flowchart.variables and name not in spoken:
                message = f"on some route to {node.id} nobody has said it yet: let the customer say it before"
                self.spec.mistake(("nodes", node.id, "call", "arguments"), f"{{{name}}}: {message}")

    def agent_goes_on(self, node: Node) -> None:
        """Check that the agent takes up what a tool answers."""
        for way in node.ways:
            if self.flowchart.speaks(way.to) not in ("agent", "tool") and way.to not in self.lost:
                message = "after a tool's answer the agent has to speak: let an agent's node come between"
                self.spec.mistake(self.places[node.id, way.to], f"{node.id} -> {way.to}: {message}")

    def results_tell_apart(self, node: Node) -> None:
        """Check that a tool's answers differ from way to way."""
        seen: dict[tuple, str] = {}
        for way in self.as_written(node):
            result = tuple(way.result.items())
            if result and result in seen:
                message = f"is also the result on the way to {seen[result]}: say what sets them apart"
                self.spec.mistake((*self.places[node.id, way.to], "result"), f"{shown(way.result)} {message}")
            seen.setdefault(result, way.to)

    def words_name_the_same(self, node: Node) -> None:
        """Check phrasings against what they stand for: an agent's prompt, or a customer's other phrasings."""
        if not self.clear(node):
            return
        if node.speaker == "agent":
            self.agent_names(node.demands, node.says, ("nodes", node.id, "says"))
        elif node.role == "user":
            for way in node.ways:
                if self.clear(node, way):
                    base = self.places[node.id, way.to] if way.says else ("nodes", node.id)
                    self.customer_names(way.says or node.says, (*base, "says"))

    def interruption_fits(self, one: Interruption) -> None:
        """Check the words of an interruption, and that what it corrects may change in the middle of a talk."""
        base: Place = ("interruptions", one.id)
        if not self.marred & {(*base, "prompt"), (*base, "says"), (*base, "answers")}:
            self.agent_names(names(one.prompt), one.answers, (*base, "answers"))
            self.customer_names(one.says, (*base, "says"))
            if one.corrects and one.says and NEW not in names(one.says[0]):
                message = "does not say {new}: let the customer name the value that holds from then on"
                self.spec.mistake(self.line_place((*base, "says"), one.says[0]), f"'{shown(one.says[0])}' {message}")
        nodes = self.flowchart.nodes.values()
        told = frozenset().union(*(said_on(node, way) for node in nodes if node.role == "user" for way in node.ways))
        for name in one.corrects:
            if name in self.flowchart.decisive:
                message = "its value decides where the talk goes or what the agent knows: take it out"
                self.spec.mistake((*base, "corrects"), f"'{name}' cannot be corrected: {message}")
            elif name not in told:
                message = "no customer ever says it: take it out"
                self.spec.mistake((*base, "corrects"), f"'{name}' cannot be corrected: {message}")

    def agent_names(self, demands: Iterable[str], lines: Iterable[str], place: Place) -> None:
        demanded = frozenset(demands)
        for line in lines:
            said = frozenset(names(line))
            for name in sorted(demanded - said):
                message = f"does not say {{{name}}}, which the prompt names: add it"
                self.spec.mistake(self.line_place(place, line), f"'{shown(line)}' {message}")
            for name in sorted(said - demanded):
                message = f"says {{{name}}}, which the prompt does not name: name it there or drop it"
                self.spec.mistake(self.line_place(place, line), f"'{shown(line)}' {message}")

    def customer_names(self, lines: Iterable[str], place: Place) -> None:
        everything = frozenset(name for line in lines for name in names(line))
        for line in lines:
            for name in sorted(everything - set(names(line))):
                message = f"does not say {{{name}}}, as the other phrasings do: add it, or drop it there"
                self.spec.mistake(self.line_place(place, line), f"'{shown(line)}' {message}")

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

    def line_place(self, place: Place, line: str) -> Place:
        """Find a phrasing in the file, in the list that stands at a place."""
        if place not in self.line_places:
            written = self.spec.data
            for part in place:
                written = written[part]
            written = [written] if isinstance(written, str) else written
            self.line_places[place] = {
                " ".join(text.split()): (*place, index) for index, text in enumerate(written) if isinstance(text, str)
            }
        return self.line_places[place][line]


def _first_of_islands(edges: dict[str, list[str]], unreached: list[str]) -> Iterator[str]:
    """Yield few of the unreached nodes, from which all the others can be reached."""
    led_to = {target for name in unreached for target in edges[name]}
    found: set[str] = set()
    for name in sorted(unreached, key=lambda name: name in led_to):
        if name not in found:
            yield name
            found |= reach(edges, [name])


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
