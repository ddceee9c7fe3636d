"""The nodes of a spec as written: roles, words, ways out, and what is asked of tools."""

import re
from typing import Any

from subterra.errors import shown
from subterra.flowchart import Call, Node, Way
from subterra.reading import Reading
from subterra.spec_file import Place, SpecFile

ROLES = ("agent", "user", "tool", "end")
NODE_KEYS = ("role", "prompt", "says", "call", "result", "next", "outcome")
WAY_KEYS = ("to", "when", "says", "where", "result")
CALL_KEYS = ("name", "arguments")
NODE = re.compile(r"[\w.-]+\Z")
TOOL = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}\Z")


class NodeReader(Reading):
    """Turns the nodes of a spec into nodes of a flowchart.

    `places` is where each way stands, `lost` the nodes that lost a way or their role to a mistake.
    """

    def __init__(self, spec: SpecFile, phrasings: bool):
        super().__init__(spec)
        self.phrasings = phrasings
        self.known: tuple[str, ...] = ()
        self.places: dict[tuple[str, str], Place] = {}
        self.lost: set[str] = set()

    def nodes(self, data: dict) -> dict[str, Any]:
        written = self.mapping(data, "nodes", (), "{greet: {role: agent, next: ask}}")
        if not written and ("nodes" not in data or isinstance(data["nodes"], dict)):
            self.spec.mistake(("nodes",), "missing: a spec needs a mapping of nodes by name")
        return written

    def node(self, name: str, value: Any) -> Node:
        place: Place = ("nodes", name)
        if not NODE.match(name):
            self.spec.mistake(place, f"'{shown(name)}' is no node's name: use letters, digits, _, . and -")
        if not isinstance(value, dict):
            self.wrong(place, value, "a mapping with role and next")
            self.lost.add(name)
            return Node(name, "", "", (), ())
        self.closed(value, NODE_KEYS, place)
        role = self.role(name, value, place)
        prompt, says = self.text(value, "prompt", place), self.texts(value, "says", place, agent=role != "user")
        self.template(prompt, (*place, "prompt"), agent=role != "user")
        ways = self.ways(name, value, place, role)
        outcome = self.text(value, "outcome", place, "name what was achieved" if role == "end" else "")
        call = self.call(value, place) if role == "tool" else None
        node = Node(name, role, prompt, says, tuple(sorted(ways, key=lambda way: way.to)), outcome, call)
        self.role_fits(node, value, place)
        if self.phrasings:
            self.words_are_there(node, value, place)
        return node

    def role(self, name: str, value: dict, place: Place) -> str:
        """Read the role; a misspelt one counts as the nearest, and "" stands for one that cannot be read."""
        written = self.text(value, "role", place, f"one of {', '.join(ROLES)}")
        if written in ROLES:
            return written
        role = self.nearest(written, ROLES)
        if written:
            hint = f" (did you mean '{role}'?)" if role else ""
            message = f"'{shown(written)}': no role{hint}: one of {', '.join(ROLES)}"
            self.spec.mistake((*place, "role"), message)
        if not role:
            self.lost.add(name)
        return role or ""

    def role_fits(self, node: Node, value: dict, place: Place) -> None:
        """Check what a role asks for: an agent's prompt, an end's outcome, a way on from all but an end."""
        if node.role == "end":
            self.end_fits(node, value, place)
            return
        for key in ("call", "result"):
            if key in value and node.role in ("agent", "user"):
                self.spec.mistake((*place, key), f"only a tool has a {key}: give the node `role: tool`, or take it out")
        if node.role and "outcome" in value:
            self.spec.mistake((*place, "outcome"), f"'{node.outcome}': only an end has an outcome: take it out")
        if node.role and "next" not in value:
            self.spec.mistake((*place, "next"), "missing: say where it goes on, or make the node an end")
            self.lost.add(node.id)
        if node.role == "agent":
            self.agent_fits(node, value, place)
        if node.role == "tool":
            self.tool_fits(node, value, place)
        if node.role == "user" and node.says and (len(node.ways) > 1 or any(way.says for way in node.ways)):
            message = "words beside those of a way out: move them into `says` of the ways"
            self.spec.mistake((*place, "says"), message)

    def tool_fits(self, node: Node, value: dict, place: Place) -> None:
        """Check that a tool does not speak, and answers something on every way."""
        for key in ("prompt", "says"):
            if key in value:
                message = "a tool has no words, only a result: let an agent's node speak before or after it"
                self.spec.mistake((*place, key), message)
        for way in node.ways:
            written = self.places[node.id, way.to]
            base = place if written == (*place, "next") else written
            if way.says:
                self.spec.mistake((*base, "says"), "a tool has no words: write what it answers as `result`")
            if not way.result and (*base, "result") not in self.spec.lines:
                message = "missing: say what the tool answers here, such as {status: active}"
                self.spec.mistake((*base, "result"), f"{node.id} -> {way.to}: {message}")

    def end_fits(self, node: Node, value: dict, place: Place) -> None:
        if "next" in value:
            message = "an end has no way out: take `next` away, or give the node another role"
            self.spec.mistake((*place, "next"), f"{shown(value['next'])}: {message}")
        if node.says and "prompt" not in value:
            self.spec.mistake((*place, "prompt"), "missing: an end that speaks needs one: say what for")

    def agent_fits(self, node: Node, value: dict, place: Place) -> None:
        if "prompt" not in value:
            self.spec.mistake((*place, "prompt"), "missing: tell the agent in a sentence what to say here")
        for way in node.ways:
            if way.says:
                message = "an agent speaks before the ways part: move it to the node's own `says`"
                self.spec.mistake((*self.places[node.id, way.to], "says"), f"'{shown(way.says[0])}': {message}")

    def words_are_there(self, node: Node, value: dict, place: Place) -> None:
        """Check that the built-in teacher has phrasings for every turn and for every way of a customer."""
        if node.role == "user" and len(node.ways) > 1:
            for way in node.ways:
                self.branch_has_words(node, way)
        elif node.speaker in ("agent", "user") and "says" not in value and not any(way.says for way in node.ways):
            self.spec.mistake((*place, "says"), "missing: the built-in teacher needs phrasings here: write some")

    def branch_has_words(self, node: Node, way: Way) -> None:
        place = (*self.places[node.id, way.to], "says")
        if not way.says and place not in self.spec.lines:
            message = "nothing in the dialogue explains this branch: add `says` with the customer's words"
            self.spec.mistake(place, f"{node.id} -> {way.to}: {message}")

    # -- ways ------------------------------------------------------------------------------------------------

    def ways(self, name: str, value: dict, place: Place, role: str) -> list[Way]:
        """Read where a node leads: a name, or a list of ways. A node that loses a way is a lost one."""
        result = self.templates(value, "result", place, "{status: active}") if role == "tool" else {}
        place = (*place, "next")
        written = value.get("next", [])
        if isinstance(written, str):
            to = self.target(self.line(written, place, "say where it goes on"), place, name)
            if not to:
                return []
            self.places[name, to] = place
            return [Way(to, "", (), {}, result)]
        if not isinstance(written, list):
            self.wrong(place, written, "a node's name or a list of ways")
            self.lost.add(name)
            return []
        if not written and "next" in value:
            self.spec.mistake(place, "[] leads nowhere: say where it goes on")
            self.lost.add(name)
        if result:
            message = "each way has a result of its own: move it there"
            self.spec.mistake((*place[:-1], "result"), message)
        several = len(written) > 1
        ways = [self.way(name, way, (*place, index), several, role) for index, way in enumerate(written)]
        return [way for way in ways if way]

    def way(self, name: str, value: Any, place: Place, several: bool, role: str) -> Way | None:
        if not isinstance(value, dict):
            self.wrong(place, value, "a way such as {to: node, when: why}")
            self.lost.add(name)
            return None
        self.closed(value, WAY_KEYS, place)
        written = self.text(value, "to", place, "name the node it leads to")
        to = self.target(written, (*place, "to"), name)
        wanted = f"say what makes it {name} -> {shown(written)} and no other way" if several else ""
        when = self.text(value, "when", place, wanted)
        self.template(when, (*place, "when"))
        says, where = self.texts(value, "says", place), self.where(value, place)
        result = self.templates(value, "result", place, "{status: active}")
        if result and role in ("agent", "user"):
            self.spec.mistake((*place, "result"), "only a tool answers with a result: take it out")
        if not to or (name, to) in self.places:
            return None
        self.places[name, to] = place
        return Way(to, when, says, where, result)

    def target(self, written: str, place: Place, source: str) -> str:
        """Return the node that is meant: the one written, the nearest, or "" where there is none.

        Two ways to one node are one way with two reasons: join them.
        """
        step = f"{source} -> {shown(written)}" if source else f"'{shown(written)}'"
        to = written
        if written and written not in self.known:
            to = self.nearest(written, self.known) or ""
            hint = f" (did you mean '{to}'?)" if to else ""
            self.spec.mistake(place, f"{step}: no such node{hint}: write it, or name one that there is")
        elif (source, to) in self.places:
            self.spec.mistake(place, f"{step}: a second way to the same node: join the two")
        if source and not to:
            self.lost.add(source)
        return to

    def where(self, value: dict, place: Place) -> dict[str, tuple[str, ...]]:
        """Read which values of which variables allow a way."""
        found = {}
        for name, values in self.mapping(value, "where", place, "{tier: [premium]}").items():
            inner = (*place, "where", name)
            if name not in self.variables:
                hint = self.hint(name, self.variables)
                self.spec.mistake(inner, f"'{shown(name)}': no such variable{hint}: declare it under variables")
            else:
                found[name] = self.allowed(name, values, inner)
        return {name: values for name, values in sorted(found.items()) if values}

    def allowed(self, name: str, values: Any, place: Place) -> tuple[str, ...]:
        """Read the values of a variable that allow a way; () where one of them cannot be read."""
        values = [values] if isinstance(values, str) else values
        if not isinstance(values, list):
            self.wrong(place, values, "a list of values")
            return ()
        if not values:
            self.spec.mistake(place, "[] allows no draw at all: name the values that allow this way")
        pool = frozenset(self.variables[name])
        found = set()
        for index, item in enumerate(values):
            item = self.line(item, (*place, index), "name a value of the pool")
            found.add(item)
            if item and pool and item not in pool:
                message = f"is no value of {name}{self.hint(item, self.variables[name])}: name one that is"
                self.spec.mistake((*place, index), f"'{shown(item)}' {message}")
        return tuple(sorted(found)) if not pool or found <= pool else ()

    # -- tools -----------------------------------------------------------------------------------------------

    def call(self, value: dict, place: Place) -> Call | None:
        """Read what is asked of a tool."""
        example = "{name: find_order, arguments: {order: '{order}'}}"
        if "call" not in value:
            self.spec.mistake((*place, "call"), f"missing: a tool is called with a name and arguments: {example}")
            return None
        written, place = self.mapping(value, "call", place, example), (*place, "call")
        if not isinstance(value["call"], dict):
            return None
        self.closed(written, CALL_KEYS, place)
        name = self.text(written, "name", place, "name the tool")
        if name and not TOOL.match(name):
            message = "is no tool's name: at most 64 letters, digits, _ and -, a letter first"
            self.spec.mistake((*place, "name"), f"'{shown(name)}' {message}")
        return Call(name, self.templates(written, "arguments", place, "{order: '{order}'}"))

    def templates(self, data: dict, key: str, place: Place, example: str) -> dict[str, str]:
        """Read a mapping of keys to templates."""
        found = {}
        for name, value in self.mapping(data, key, place, example).items():
            inner = (*place, key, name)
            found[name] = self.line(value, inner, "write a value or a {variable}")
            self.template(found[name], inner)
        return dict(sorted(found.items()))
