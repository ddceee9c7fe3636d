"""From a spec as written to a checked flowchart, or to every mistake at once.

This module checks form: keys, types, templates, pools. What the graph as a whole must hold is in `soundness`.
"""

import re
from pathlib import Path
from typing import Any

from subterra import soundness
from subterra.errors import nearest
from subterra.flowchart import RULES, Flowchart, Node, Way
from subterra.spec_file import Place, SpecFile, read_spec_file
from subterra.text import names, stray_braces

ROLES = ("agent", "user", "end")
TOP_KEYS = ("title", "system", "start", "paths", "variables", "nodes")
NODE_KEYS = ("role", "prompt", "says", "next", "outcome")
WAY_KEYS = ("to", "when", "says", "where")
NODE = re.compile(r"[\w.-]+\Z")
RANGE_KEYS = ("from", "to", "step")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
LARGEST_POOL = 100_000


def check_spec(path: str | Path, rule: str = "trail", phrasings: bool = True) -> Flowchart:
    """Read and check a spec.

    `rule` is the path rule where the spec names none. `phrasings` says that the built-in teacher will speak, so that
    every agent turn and every way of a customer needs its `says`. Raises SpecError with a line for every mistake.
    """
    spec = read_spec_file(path)
    flowchart = Reader(spec, phrasings).flowchart(rule)
    if flowchart is not None:
        soundness.check(spec, flowchart)
    spec.raise_mistakes()
    assert flowchart is not None
    return flowchart


class Reader:
    """Turns the plain data of a spec into a Flowchart and notes what is malformed on the way."""

    def __init__(self, spec: SpecFile, phrasings: bool):
        self.spec = spec
        self.phrasings = phrasings
        self.variables: dict[str, tuple[str, ...]] = {}

    def flowchart(self, rule: str) -> Flowchart | None:
        """Return the flowchart, or None where its form is too broken for the graph to be looked at."""
        data = self.spec.data
        self.closed(data, TOP_KEYS, ())
        title = self.text(data, "title", (), required=True)
        system = self.text(data, "system", (), required=True)
        start = self.text(data, "start", (), required=True)
        rule = self.rule(data, rule)
        self.variables = self.pools(data)
        written = data.get("nodes")
        if not isinstance(written, dict) or not written:
            self.spec.mistake(
                ("nodes",) if "nodes" in data else (), "nodes: a spec needs a mapping of nodes by name"
            )
            return None
        nodes = {name: self.node(name, value) for name, value in written.items()}
        if any(node is None for node in nodes.values()) or not self.targets_known(nodes, start):
            return None
        agent = self.spec.path.stem
        return Flowchart(
            agent,
            title,
            system,
            start,
            rule,
            dict(sorted(self.variables.items())),
            dict(sorted(nodes.items())),
        )

    # -- small readers -------------------------------------------------------------------------------------------

    def closed(self, data: dict, known: tuple[str, ...], place: Place) -> None:
        for key in data:
            if key not in known:
                hint = nearest(key, known) or f" (known: {', '.join(known)})"
                self.spec.mistake((*place, key), f"unknown key '{key}'{hint}")

    def text(self, data: dict, key: str, place: Place, required: bool = False) -> str:
        value = data.get(key, "")
        if key not in data and required:
            self.spec.mistake(place, f"{key}: missing: write a line of text")
        elif not isinstance(value, str):
            self.spec.mistake((*place, key), f"a {kind(value)} where a line of text belongs")
            return ""
        elif key in data and not value.strip():
            self.spec.mistake((*place, key), "empty: write a line of text")
        return " ".join(value.split())

    def texts(self, data: dict, key: str, place: Place) -> tuple[str, ...]:
        """Read a list of lines; one line alone counts as a list of one."""
        value = data.get(key, [])
        if isinstance(value, str):
            value = [value]
        if not isinstance(value, list):
            self.spec.mistake((*place, key), f"a {kind(value)} where a list of lines belongs")
            return ()
        if key in data and not value:
            self.spec.mistake((*place, key), "an empty list: write at least one line")
        found = []
        for index, line in enumerate(value):
            inner = (*place, key, index)
            if not isinstance(line, str):
                self.spec.mistake(inner, f"a {kind(line)} where a line of text belongs")
            elif not line.strip():
                self.spec.mistake(inner, "empty: write a line of text")
            elif " ".join(line.split()) in found:
                self.spec.mistake(inner, f"'{line}' stands twice: take one out")
            else:
                found.append(" ".join(line.split()))
                self.template(line, inner)
        return tuple(sorted(found))

    def template(self, line: str, place: Place) -> None:
        for name in names(line):
            if name not in self.variables:
                self.spec.mistake(
                    place,
                    f"{{{name}}}: no such variable{nearest(name, self.variables)}: declare it under variables",
                )
        if stray_braces(line):
            self.spec.mistake(
                place, f"'{line}': a template fills in {{name}} of a declared variable and does nothing else"
            )

    # -- parts ---------------------------------------------------------------------------------------------------

    def rule(self, data: dict, default: str) -> str:
        if "paths" not in data:
            return default
        if not isinstance(data["paths"], dict):
            self.spec.mistake(("paths",), "a mapping with `rule` belongs here, such as {rule: trail}")
            return default
        self.closed(data["paths"], ("rule",), ("paths",))
        rule = self.text(data["paths"], "rule", ("paths",), required=True)
        if not re.fullmatch(r"simple|trail|visits: ?[1-9][0-9]?", rule):
            self.spec.mistake(
                ("paths", "rule"), f"'{rule}': no path rule{nearest(rule, RULES)}: one of {', '.join(RULES)}"
            )
            return default
        return rule

    def pools(self, data: dict) -> dict[str, tuple[str, ...]]:
        written = data.get("variables", {})
        if not isinstance(written, dict):
            self.spec.mistake(("variables",), f"a {kind(written)} where a mapping of pools by name belongs")
            return {}
        found = {}
        for name, value in written.items():
            place: Place = ("variables", name)
            if not VARIABLE.match(name):
                self.spec.mistake(
                    place, f"'{name}' is no variable's name: letters, digits and _, a letter first"
                )
            found[name] = self.span(value, place) if isinstance(value, dict) else self.pool(value, place)
        return found

    def pool(self, value: Any, place: Place) -> tuple[str, ...]:
        if not isinstance(value, list):
            self.spec.mistake(place, f"a {kind(value)} where a list of values or {{from, to, step}} belongs")
            return ()
        if not value:
            self.spec.mistake(place, "an empty pool: write at least one value")
        found: dict[str, None] = {}
        for index, item in enumerate(value):
            inner = (*place, index)
            if not isinstance(item, str) or not item.strip():
                self.spec.mistake(inner, "a value has to be a word or a number")
            elif "{" in item or "}" in item:
                self.spec.mistake(inner, f"'{item}': a value has no braces")
            elif " ".join(item.split()) in found:
                self.spec.mistake(inner, f"'{item}' stands twice: take one out")
            else:
                found[" ".join(item.split())] = None
        return tuple(sorted(found))

    def span(self, value: dict, place: Place) -> tuple[str, ...]:
        """Read {from, to, step} as whole numbers, both ends included."""
        self.closed(value, RANGE_KEYS, place)
        numbers = {}
        for key in RANGE_KEYS:
            text = value.get(key, "1" if key == "step" else None)
            if not isinstance(text, str) or not re.fullmatch(r"-?[0-9]{1,15}", text):
                self.spec.mistake(
                    (*place, key) if key in value else place, f"{key}: a whole number belongs here"
                )
            else:
                numbers[key] = int(text)
        if len(numbers) < 3:
            return ()
        if numbers["step"] < 1 or numbers["to"] < numbers["from"]:
            self.spec.mistake(place, "an empty pool: `to` has to be at least `from`, and `step` at least 1")
            return ()
        if (numbers["to"] - numbers["from"]) // numbers["step"] >= LARGEST_POOL:
            self.spec.mistake(place, f"more than {LARGEST_POOL:,} values: take a larger step")
            return ()
        return tuple(sorted(map(str, range(numbers["from"], numbers["to"] + 1, numbers["step"]))))

    def node(self, name: str, value: Any) -> Node | None:
        place: Place = ("nodes", name)
        if not isinstance(value, dict):
            self.spec.mistake(place, f"a {kind(value)} where a mapping with role and next belongs")
            return None
        self.closed(value, NODE_KEYS, place)
        if not NODE.match(name):
            self.spec.mistake(place, f"'{name}' is no node's name: use letters, digits, _, . and -")
        role = self.text(value, "role", place, required=True)
        if role and role not in ROLES:
            self.spec.mistake(
                (*place, "role"), f"'{role}': no role{nearest(role, ROLES)}: one of {', '.join(ROLES)}"
            )
        prompt, says = self.text(value, "prompt", place), self.texts(value, "says", place)
        self.template(prompt, (*place, "prompt"))
        ways = self.ways(value, place)
        outcome = self.text(value, "outcome", place, required=role == "end")
        node = Node(name, role, prompt, says, tuple(sorted(ways or (), key=lambda way: way.to)), outcome)
        self.role_fits(node, value, place)
        return None if ways is None or role not in ROLES else node

    def role_fits(self, node: Node, value: dict, place: Place) -> None:
        """Check what a role asks for: an agent's prompt, an end's outcome, words for the built-in teacher."""
        if node.role == "end" and value.get("next"):
            self.spec.mistake(
                (*place, "next"), "an end has no way out: take `next` away, or give the node another role"
            )
        if node.role in ("agent", "user") and "next" not in value:
            self.spec.mistake(place, "next: missing: say where it goes on, or make the node an end")
        if node.role != "end" and "outcome" in value:
            self.spec.mistake((*place, "outcome"), "only an end has an outcome")
        if node.role == "agent" and "prompt" not in value:
            self.spec.mistake(place, "prompt: missing: tell the agent in a sentence what to say here")
        if node.role == "end" and node.says and not node.prompt:
            self.spec.mistake(place, "prompt: missing: an end that speaks needs one")
        if node.role == "user" and len(node.ways) > 1 and node.says:
            self.spec.mistake((*place, "says"), "a hub's words belong to each of its ways")
        if self.phrasings:
            self.words_are_there(node, place)

    def words_are_there(self, node: Node, place: Place) -> None:
        """Check that the built-in teacher has phrasings for every turn and for every way of a customer."""
        if node.role == "user" and len(node.ways) > 1:
            for way in node.ways:
                if not way.says:
                    self.spec.mistake(
                        place,
                        f"{node.id} -> {way.to}: nothing in the dialogue explains this branch: add `says` to it",
                    )
        elif not node.says and (node.role != "end" or node.prompt) and not any(way.says for way in node.ways):
            self.spec.mistake(place, "says: missing: the built-in teacher needs phrasings here")

    def ways(self, value: dict, place: Place) -> list[Way] | None:
        written = value.get("next", [])
        place = (*place, "next")
        if isinstance(written, str):
            return [Way(written, "", (), {})] if written else []
        if not isinstance(written, list):
            self.spec.mistake(place, f"a {kind(written)} where a node's name or a list of ways belongs")
            return None
        if not written and "next" in value:
            self.spec.mistake(place, "an empty list: say where it goes on")
        ways = [self.way(way, (*place, index), len(written) > 1) for index, way in enumerate(written)]
        return None if None in ways else ways

    def way(self, value: Any, place: Place, several: bool) -> Way | None:
        if not isinstance(value, dict):
            self.spec.mistake(place, f"a {kind(value)} where a way belongs, such as {{to: node, when: why}}")
            return None
        self.closed(value, WAY_KEYS, place)
        to = self.text(value, "to", place, required=True)
        when = self.text(value, "when", place, required=several)
        return Way(to, when, self.texts(value, "says", place), self.where(value, place)) if to else None

    def where(self, value: dict, place: Place) -> dict[str, tuple[str, ...]]:
        written = value.get("where", {})
        place = (*place, "where")
        if not isinstance(written, dict):
            self.spec.mistake(place, f"a {kind(written)} where a mapping such as {{tier: [premium]}} belongs")
            return {}
        found = {}
        for name, values in written.items():
            inner = (*place, name)
            values = [values] if isinstance(values, str) else values
            if name not in self.variables:
                self.spec.mistake(inner, f"'{name}': no such variable{nearest(name, self.variables)}")
            elif not isinstance(values, list) or not all(isinstance(item, str) for item in values):
                self.spec.mistake(inner, "a list of values belongs here")
            elif not values:
                self.spec.mistake(
                    inner, "an empty list allows no draw at all: name the values that allow this way"
                )
            else:
                for item in values:
                    if item not in self.variables[name]:
                        self.spec.mistake(
                            inner, f"'{item}' is no value of {name}{nearest(item, self.variables[name])}"
                        )
                found[name] = tuple(sorted(set(values)))
        return dict(sorted(found.items()))

    def targets_known(self, nodes: dict[str, Node], start: str) -> bool:
        """Check that every name leads somewhere. Two ways to one node are one way with two reasons: say so."""
        known = True
        if start and start not in nodes:
            self.spec.mistake(("start",), f"'{start}': no such node{nearest(start, nodes)}")
            known = False
        for node in nodes.values():
            seen = set()
            for index, way in enumerate(self.spec_ways(node.id)):
                if way not in nodes:
                    self.spec.mistake(
                        ("nodes", node.id, "next", index),
                        f"{node.id} -> {way}: no such node{nearest(way, nodes)}",
                    )
                    known = False
                elif way in seen:
                    self.spec.mistake(
                        ("nodes", node.id, "next", index),
                        f"{node.id} -> {way}: a second way to the same node: join the two",
                    )
                seen.add(way)
        return known and bool(start)

    def spec_ways(self, name: str) -> list[str]:
        """The targets of a node in the order they were written."""
        written = self.spec.data["nodes"][name].get("next", [])
        targets = [written] if isinstance(written, str) else [way["to"] for way in written]
        return [" ".join(target.split()) for target in targets if target.strip()]


def kind(value: Any) -> str:
    """Name the type of plain YAML data as people do."""
    return {dict: "mapping", list: "list", str: "word"}.get(type(value), "value")
