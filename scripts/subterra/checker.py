"""From a spec as written to a checked flowchart, or to every mistake at once.

This module checks form: keys, types, templates, pools. What the graph as a whole must hold is in `soundness`.
One slip makes one line: a misspelt name counts as the nearest known one, so that the rest is still checked.
"""

import re
from pathlib import Path
from typing import Any

from subterra import soundness
from subterra.errors import closest, shown
from subterra.flowchart import RULES, Flowchart, Node, Way
from subterra.spec_file import Place, SpecFile, read_spec_file
from subterra.text import names, stray_braces

ROLES = ("agent", "user", "end")
TOP_KEYS = ("title", "system", "start", "paths", "variables", "nodes")
NODE_KEYS = ("role", "prompt", "says", "next", "outcome")
WAY_KEYS = ("to", "when", "says", "where")
RANGE_KEYS = ("from", "to", "step")
NODE = re.compile(r"[\w.-]+\Z")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
RULE = re.compile(r"simple|trail|visits: ?([1-9][0-9]?)")
LARGEST_POOL = 100_000
MOST_COMPARED = 200_000  # looking for the nearest of thousands of names takes a while: no more names than these


def check_spec(path: str | Path, rule: str = "trail", phrasings: bool = True) -> Flowchart:
    """Read and check a spec.

    `rule` is the path rule where the spec names none. `phrasings` says that the built-in teacher will speak,
    so that every agent turn and every way of a customer needs its `says`.
    Raises SpecError with a line for every mistake.
    """
    spec = read_spec_file(path)
    draft = Reader(spec, phrasings).draft(rule)
    soundness.check(spec, draft)
    spec.raise_mistakes()
    return draft.flowchart


class Reader:
    """Turns the plain data of a spec into a draft of its flowchart and notes what is malformed on the way."""

    def __init__(self, spec: SpecFile, phrasings: bool):
        self.spec = spec
        self.phrasings = phrasings
        self.compared = 0
        self.variables: dict[str, tuple[str, ...]] = {}
        self.known: tuple[str, ...] = ()
        self.places: dict[tuple[str, str], Place] = {}
        self.lost: set[str] = set()

    def draft(self, rule: str) -> soundness.Draft:
        """Return the flowchart as far as it can be read. It is whole where no mistake was noted."""
        data = self.spec.data
        self.closed(data, TOP_KEYS, ())
        title = self.text(data, "title", (), "write a name for people")
        system = self.text(data, "system", (), "write the agent's whole system prompt")
        if "{" in system or "}" in system:
            self.spec.mistake(("system",), f"'{shown(system)}': one prompt for all conversations has no braces")
        rule = self.rule(data, rule)
        self.variables = self.pools(data)
        written = self.nodes(data)
        self.known = tuple(written)
        start = self.text(data, "start", (), "name the node where every conversation begins")
        start = self.target(start, ("start",), "") if start and written else ""
        nodes = dict(sorted((name, self.node(name, value)) for name, value in written.items()))
        variables = dict(sorted(self.variables.items()))
        flowchart = Flowchart(self.spec.path.stem, title, system, start, rule, variables, nodes)
        return soundness.Draft(flowchart, self.places, frozenset(self.lost))

    # -- small readers ---------------------------------------------------------------------------------------

    def nearest(self, value: str, known: tuple[str, ...] | dict) -> str | None:
        """Return the nearest known name, as long as there is time to look for it."""
        self.compared += len(known)
        return closest(value, known) if self.compared <= MOST_COMPARED else None

    def hint(self, value: str, known: tuple[str, ...] | dict) -> str:
        found = self.nearest(value, known)
        return f" (did you mean '{found}'?)" if found else ""

    def closed(self, data: dict, known: tuple[str, ...], place: Place) -> None:
        for key in data:
            if key not in known:
                hint = self.hint(key, known) or f" (known: {', '.join(known)})"
                self.spec.mistake((*place, key), f"unknown key '{shown(key)}'{hint}: correct it or take it out")

    def mapping(self, data: dict, key: str, place: Place, example: str) -> dict[str, Any]:
        value = data.get(key, {})
        if isinstance(value, dict):
            return value
        self.wrong((*place, key), value, f"a mapping such as {example}")
        return {}

    def wrong(self, place: Place, value: Any, wanted: str) -> None:
        """Note a value of the wrong type."""
        what = f"{kind(value)} {shown(value)}".rstrip()
        self.spec.mistake(place, f"{what} where {wanted} belongs: write it so")

    def text(self, data: dict, key: str, place: Place, wanted: str = "") -> str:
        """Read a line of text; `wanted` says what to write where it must not be missing."""
        if key not in data:
            if wanted:
                self.spec.mistake((*place, key), f"missing: {wanted}")
            return ""
        return self.line(data[key], (*place, key), wanted or "write a line of text or take the key out")

    def line(self, value: Any, place: Place, wanted: str) -> str:
        if not isinstance(value, str):
            self.wrong(place, value, "a line of text")
            return ""
        if not value.strip():
            self.spec.mistake(place, f"empty: {wanted}")
        return " ".join(value.split())

    def texts(self, data: dict, key: str, place: Place) -> tuple[str, ...]:
        """Read a list of lines; one line alone counts as a list of one."""
        value = data.get(key, [])
        place = (*place, key)
        if isinstance(value, str):
            value = [value]
        if not isinstance(value, list):
            self.wrong(place, value, "a list of lines")
            return ()
        if key in data and not value:
            self.spec.mistake(place, "an empty list: write at least one line")
        found: dict[str, None] = {}
        for index, item in enumerate(value):
            line = self.line(item, (*place, index), "write a line of text or take it out")
            if line in found:
                self.spec.mistake((*place, index), f"'{shown(line)}' stands twice: take one out")
            elif line:
                found[line] = None
                self.template(line, (*place, index))
        return tuple(sorted(found))

    def template(self, line: str, place: Place) -> None:
        for name in names(line):
            if name not in self.variables:
                hint = self.hint(name, self.variables)
                self.spec.mistake(place, f"{{{shown(name)}}}: no such variable{hint}: declare it under variables")
        stray = stray_braces(line)
        if stray:
            message = "a template fills in {name} of a declared variable and does nothing else: write it so"
            self.spec.mistake(place, f"'{shown(stray)}': {message}")

    # -- parts -----------------------------------------------------------------------------------------------

    def rule(self, data: dict, default: str) -> str:
        written = self.mapping(data, "paths", (), "{rule: trail}")
        self.closed(written, ("rule",), ("paths",))
        rule = self.text(written, "rule", ("paths",))
        if not rule:
            return default
        found = RULE.fullmatch(rule)
        if not found:
            hint = self.hint(rule, RULES)
            self.spec.mistake(("paths", "rule"), f"'{shown(rule)}': no path rule{hint}: one of {', '.join(RULES)}")
            return default
        return f"visits: {found[1]}" if found[1] else rule

    def pools(self, data: dict) -> dict[str, tuple[str, ...]]:
        found = {}
        for name, value in self.mapping(data, "variables", (), "{tier: [basic, premium]}").items():
            place: Place = ("variables", name)
            if not VARIABLE.match(name):
                message = "no variable's name: letters, digits and _, a letter first"
                self.spec.mistake(place, f"'{shown(name)}' is {message}")
            found[name] = self.span(value, place) if isinstance(value, dict) else self.pool(value, place)
        return found

    def pool(self, value: Any, place: Place) -> tuple[str, ...]:
        if not isinstance(value, list):
            self.wrong(place, value, "a list of values or {from, to, step}")
            return ()
        if not value:
            self.spec.mistake(place, "[] is an empty pool: write at least one value")
        found: dict[str, None] = {}
        for index, item in enumerate(value):
            inner = (*place, index)
            item = self.line(item, inner, "write a value or take it out")
            if "{" in item or "}" in item:
                self.spec.mistake(inner, f"'{shown(item)}': a value has no braces: take them out")
            elif item in found:
                self.spec.mistake(inner, f"'{shown(item)}' stands twice: take one out")
            elif item:
                found[item] = None
        return tuple(sorted(found))

    def span(self, value: dict, place: Place) -> tuple[str, ...]:
        """Read {from, to, step} as whole numbers, both ends included."""
        self.closed(value, RANGE_KEYS, place)
        numbers = {"step": 1} | {key: self.number(value[key], (*place, key)) for key in RANGE_KEYS if key in value}
        for key in ("from", "to"):
            if key not in value:
                self.spec.mistake((*place, key), "missing: write a whole number, or a list of values instead")
        if None in numbers.values() or len(numbers) < 3:
            return ()
        first, last, step = (numbers[key] for key in RANGE_KEYS)
        if step < 1 or last < first:
            message = "`to` has to be at least `from`, and `step` at least 1"
            self.spec.mistake(place, f"{shown(value)} is an empty pool: {message}")
            return ()
        if (last - first) // step >= LARGEST_POOL:
            message = f"more than {LARGEST_POOL:,} values: take a larger step"
            self.spec.mistake(place, f"{shown(value)} has {message}")
            return ()
        return tuple(sorted(map(str, range(first, last + 1, step))))

    def number(self, value: Any, place: Place) -> int | None:
        if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,15}", value):
            return int(value)
        self.wrong(place, value, "a whole number")
        return None

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
        prompt, says = self.text(value, "prompt", place), self.texts(value, "says", place)
        self.template(prompt, (*place, "prompt"))
        ways = self.ways(name, value, place)
        outcome = self.text(value, "outcome", place, "name what was achieved" if role == "end" else "")
        node = Node(name, role, prompt, says, tuple(sorted(ways, key=lambda way: way.to)), outcome)
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
        if node.role and "outcome" in value:
            self.spec.mistake((*place, "outcome"), f"'{node.outcome}': only an end has an outcome: take it out")
        if node.role and "next" not in value:
            self.spec.mistake((*place, "next"), "missing: say where it goes on, or make the node an end")
            self.lost.add(node.id)
        if node.role == "agent":
            self.agent_fits(node, value, place)
        if node.role == "user" and node.says and (len(node.ways) > 1 or any(way.says for way in node.ways)):
            message = "words beside those of a way out: move them into `says` of the ways"
            self.spec.mistake((*place, "says"), message)

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
        elif node.speaker and "says" not in value and not any(way.says for way in node.ways):
            self.spec.mistake((*place, "says"), "missing: the built-in teacher needs phrasings here: write some")

    def branch_has_words(self, node: Node, way: Way) -> None:
        place = (*self.places[node.id, way.to], "says")
        if not way.says and place not in self.spec.lines:
            message = "nothing in the dialogue explains this branch: add `says` with the customer's words"
            self.spec.mistake(place, f"{node.id} -> {way.to}: {message}")

    # -- ways ------------------------------------------------------------------------------------------------

    def ways(self, name: str, value: dict, place: Place) -> list[Way]:
        """Read where a node leads: a name, or a list of ways. A node that loses a way is a lost one."""
        place = (*place, "next")
        written = value.get("next", [])
        if isinstance(written, str):
            to = self.target(self.line(written, place, "say where it goes on"), place, name)
            if not to:
                return []
            self.places[name, to] = place
            return [Way(to, "", (), {})]
        if not isinstance(written, list):
            self.wrong(place, written, "a node's name or a list of ways")
            self.lost.add(name)
            return []
        if not written and "next" in value:
            self.spec.mistake(place, "[] leads nowhere: say where it goes on")
            self.lost.add(name)
        several = len(written) > 1
        ways = [self.way(name, way, (*place, index), several) for index, way in enumerate(written)]
        return [way for way in ways if way]

    def way(self, name: str, value: Any, place: Place, several: bool) -> Way | None:
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
        if not to or (name, to) in self.places:
            return None
        self.places[name, to] = place
        return Way(to, when, says, where)

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


def kind(value: Any) -> str:
    """Name the type of plain YAML data as people do."""
    return {dict: "a mapping", list: "a list"}.get(type(value), "the word" if value else "nothing")
