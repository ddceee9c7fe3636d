"""From a spec as written to a checked flowchart, or to every mistake at once.

This module and the readers below it check form: keys, types, templates, pools. What the graph as a whole must hold is
in `soundness`.
"""

import re
from pathlib import Path
from typing import Any

from subterra import soundness
from subterra.errors import shown
from subterra.flowchart import NEW, OLD, RULES, Fact, Flowchart, Interruption, Node
from subterra.node_reader import NodeReader
from subterra.spec_file import Place, read_spec_file

TOP_KEYS = ("title", "system", "start", "paths", "variables", "knowledge", "nodes", "interruptions")
RANGE_KEYS = ("from", "to", "step")
FACT_KEYS = ("of", "is")
INTERRUPTION_KEYS = ("when", "says", "prompt", "answers", "to", "corrects")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
RULE = re.compile(r"simple|trail|visits: ?([1-9][0-9]?)")
LARGEST_POOL = 100_000


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


class Reader(NodeReader):
    """Turns the plain data of a spec into a draft of its flowchart and notes what is malformed on the way."""

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
        self.facts = knowledge = self.knowledge(data)
        written = self.nodes(data)
        self.known = tuple(written)
        start = self.text(data, "start", (), "name the node where every conversation begins")
        start = self.target(start, ("start",), "") if start and written else ""
        nodes = dict(sorted((name, self.node(name, value)) for name, value in written.items()))
        interruptions = self.interruptions(data, nodes)
        flowchart = Flowchart(
            agent=self.spec.path.stem,
            title=title,
            system=system,
            start=start,
            rule=rule,
            variables=dict(sorted(self.variables.items())),
            nodes=nodes,
            knowledge=knowledge,
            interruptions=interruptions,
        )
        return soundness.Draft(flowchart, self.places, frozenset(self.lost))

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
            self.named(name, place, "variable")
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

    def named(self, name: str, place: Place, what: str) -> None:
        if not VARIABLE.match(name):
            self.spec.mistake(place, f"'{shown(name)}' is no {what}'s name: letters, digits and _, a letter first")

    # -- what the agent knows by heart -----------------------------------------------------------------------

    def knowledge(self, data: dict) -> dict[str, Fact]:
        found = {}
        for name, value in self.mapping(data, "knowledge", (), "{mute_keys: Alt+A}").items():
            place: Place = ("knowledge", name)
            self.named(name, place, "fact")
            if name in self.variables:
                self.spec.mistake(place, f"'{name}' is a variable as well: give the fact another name")
            if isinstance(value, dict):
                found[name] = self.fact_by_value(value, place)
            else:
                found[name] = Fact("", {"": self.plain(value, place)})
        return dict(sorted(found.items()))

    def fact_by_value(self, value: dict, place: Place) -> Fact:
        """Read {of: variable, is: {value: text}}, with a text for every value of the variable."""
        self.closed(value, FACT_KEYS, place)
        of = self.text(value, "of", place, "name the variable that it depends on")
        written = self.mapping(value, "is", place, "{basic: 5 seats, premium: 50 seats}")
        if not of:
            return Fact("", {})
        if of not in self.variables:
            message = f"no such variable{self.hint(of, self.variables)}: declare it under variables"
            self.spec.mistake((*place, "of"), f"'{shown(of)}': {message}")
            return Fact("", {})
        texts = {key: self.plain(text, (*place, "is", key)) for key, text in written.items()}
        pool = self.variables.get(of, ())
        for key in texts:
            if key not in pool:
                message = f"is no value of {of}{self.hint(key, pool)}: name one that is"
                self.spec.mistake((*place, "is", key), f"'{shown(key)}' {message}")
        missing = [key for key in pool if key not in texts]
        if missing:
            more = f" and {len(missing) - 1:,} more" if len(missing) > 1 else ""
            self.spec.mistake((*place, "is"), f"nothing for {of} '{shown(missing[0])}'{more}: write it")
        return Fact(of, dict(sorted(texts.items())))

    def plain(self, value: Any, place: Place) -> str:
        """Read a text without templates."""
        text = self.line(value, place, "write the fact or take it out")
        if "{" in text or "}" in text:
            self.spec.mistake(place, f"'{shown(text)}': a fact has no braces: take them out")
        return text

    # -- interruptions ---------------------------------------------------------------------------------------

    def interruptions(self, data: dict, nodes: dict[str, Node]) -> dict[str, Interruption]:
        found = {}
        for name, value in self.mapping(data, "interruptions", (), "{wait: {when: ..., says: [...]}}").items():
            place: Place = ("interruptions", name)
            self.named(name, place, "interruption")
            if isinstance(value, dict):
                found[name] = self.interruption(name, value, place, nodes)
            else:
                self.wrong(place, value, "a mapping with when, says and an answer")
        return dict(sorted(found.items()))

    def interruption(self, name: str, value: dict, place: Place, nodes: dict[str, Node]) -> Interruption:
        self.closed(value, INTERRUPTION_KEYS, place)
        corrects = self.corrected(value, place)
        more = (OLD, NEW) if "corrects" in value else ()
        when = self.text(value, "when", place, "say what the customer does there")
        says = self.texts(value, "says", place, more=more)
        prompt = self.text(value, "prompt", place)
        self.template(prompt, (*place, "prompt"), agent=True, more=more)
        answers = self.texts(value, "answers", place, agent=True, more=more)
        to = self.goes_on_at(value, place, nodes)
        if self.phrasings and not says and "says" not in value:
            self.spec.mistake((*place, "says"), "missing: the built-in teacher needs the customer's words: write some")
        if "to" in value:
            for key in ("prompt", "answers", "corrects"):
                if key in value:
                    message = f"the talk goes on at {to or 'another node'}, whose words answer: take one of the two out"
                    self.spec.mistake((*place, key), message)
        else:
            if not prompt and "prompt" not in value:
                message = "missing: tell the agent in a sentence how to answer, or name an end as `to`"
                self.spec.mistake((*place, "prompt"), message)
            if self.phrasings and not answers and "answers" not in value:
                message = "missing: the built-in teacher needs the agent's words: write some"
                self.spec.mistake((*place, "answers"), message)
        return Interruption(name, when, says, prompt, answers, to, corrects)

    def corrected(self, value: dict, place: Place) -> tuple[str, ...]:
        """Read which variables a customer may correct."""
        place, found = (*place, "corrects"), []
        written = value.get("corrects", [])
        written = [written] if isinstance(written, str) else written
        if not isinstance(written, list):
            self.wrong(place, written, "a list of variables")
            return ()
        if not written and "corrects" in value:
            self.spec.mistake(place, "[] corrects nothing: name the variables, or take the key out")
        for index, item in enumerate(written):
            name = self.line(item, (*place, index), "name a variable")
            if name in self.variables:
                found.append(name)
            elif name:
                message = f"no such variable{self.hint(name, self.variables)}: declare it under variables"
                self.spec.mistake((*place, index), f"'{shown(name)}': {message}")
        for name in {OLD, NEW} & {*self.variables, *self.facts} if found else ():
            message = "stands for a value of a correction: rename the variable or the fact"
            self.spec.mistake(place, f"'{name}' {message}")
        return tuple(sorted(set(found)))

    def goes_on_at(self, value: dict, place: Place, nodes: dict[str, Node]) -> str:
        """Read the end at which the talk goes on; "" where it comes back, or where no such end can be read."""
        if "to" not in value:
            return ""
        written = self.text(value, "to", place, "name an end")
        if not written:
            return ""
        place = (*place, "to")
        if written not in nodes:
            message = f"no such node{self.hint(written, self.known)}: name an end"
            self.spec.mistake(place, f"'{shown(written)}': {message}")
            return ""
        node = nodes[written]
        if node.role and (node.role != "end" or not node.prompt):
            self.spec.mistake(place, f"'{written}' is no end that speaks: name one, or let the talk come back")
            return ""
        return written
