"""The canonical procedure: nodes, ways and variables, once the checker has found nothing wrong.

Two specs that say the same (other comments, key order, layout) have the same canonical form, byte for byte.

An interruption is something that a customer may say instead of what the procedure waits for. In a conversation it is
two more steps, named after it: `wait?` is the customer's, `wait!` the agent's answer.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from subterra.text import canonical, digest, names

RULES = ("simple", "trail", "visits: k")
HEARD, ANSWERED = "?", "!"  # what the two steps of an interruption end with; no node's name does
OLD, NEW = "old", "new"  # in the words of a correction: the value it takes back, and the one that holds


@dataclass(frozen=True)
class Way:
    """A way out of a node: where it leads, when it is taken, what is said then, which draws allow it.

    `result` is what a tool answers on this way, a template for each key.
    """

    to: str
    when: str
    says: tuple[str, ...]
    where: dict[str, tuple[str, ...]]
    result: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Call:
    """What the agent asks a tool: its name, and a template for each argument."""

    name: str
    arguments: dict[str, str]


@dataclass(frozen=True)
class Node:
    """A step of the procedure: agent, user, tool or end. An end with a prompt speaks the agent's closing words."""

    id: str
    role: str
    prompt: str
    says: tuple[str, ...]
    ways: tuple[Way, ...]
    outcome: str = ""
    call: Call | None = None

    @property
    def speaker(self) -> str | None:
        """Who speaks here: "agent", "user", "tool", or None for an end without words."""
        if self.role == "end":
            return "agent" if self.prompt else None
        return self.role

    @property
    def demands(self) -> tuple[str, ...]:
        """The variables and facts whose value the agent has to say here: those its prompt names."""
        return names(self.prompt) if self.speaker == "agent" else ()

    @property
    def asks(self) -> tuple[str, ...]:
        """The variables whose value the agent has to hand to a tool here."""
        arguments = self.call.arguments.values() if self.call else ()
        return tuple(dict.fromkeys(name for template in arguments for name in names(template)))


@dataclass(frozen=True)
class Fact:
    """Something that the agent knows by heart: one text, or one for each value of the variable `of`."""

    of: str
    texts: dict[str, str]

    def known(self, values: Mapping[str, str]) -> str | None:
        """Return the text under a draw; None where the draw lacks the variable."""
        return self.texts.get(values.get(self.of, "") if self.of else "")


@dataclass(frozen=True)
class Interruption:
    """What a customer may say at any turn instead, and how the agent deals with it.

    The agent answers, and the customer goes on with what was due; or the talk goes on at the end `to`, whose words
    answer. A correction takes back the value of one of the variables in `corrects`, which the customer has said.
    """

    id: str
    when: str
    says: tuple[str, ...]
    prompt: str
    answers: tuple[str, ...]
    to: str = ""
    corrects: tuple[str, ...] = ()

    @property
    def steps(self) -> tuple[str, ...]:
        """The names of its steps in a conversation; the last one is an end where the talk does not come back."""
        return (self.id + HEARD, self.to or self.id + ANSWERED)


@dataclass(frozen=True)
class Flowchart:
    """A checked procedure. Every way leads to a node, every node lies between the start and an end."""

    agent: str
    title: str
    system: str
    start: str
    rule: str
    variables: dict[str, tuple[str, ...]]
    nodes: dict[str, Node]
    knowledge: dict[str, Fact] = field(default_factory=dict)
    interruptions: dict[str, Interruption] = field(default_factory=dict)

    @cached_property
    def hubs(self) -> tuple[str, ...]:
        """Ids of the nodes with several ways out."""
        return tuple(node.id for node in self.nodes.values() if len(node.ways) > 1)

    @cached_property
    def ends(self) -> tuple[str, ...]:
        """Ids of the ends."""
        return tuple(node.id for node in self.nodes.values() if node.role == "end")

    @cached_property
    def edges(self) -> tuple[tuple[str, str], ...]:
        """Every (source, target)."""
        return tuple((node.id, way.to) for node in self.nodes.values() for way in node.ways)

    @cached_property
    def edge_pairs(self) -> tuple[tuple[str, str, str], ...]:
        """Every pair of edges that follow one another, as three node ids."""
        return tuple((a, b, way.to) for a, b in self.edges for way in self.nodes[b].ways)

    @property
    def lessons(self) -> int:
        """How much there is to learn: the edges, and the facts to be known by heart."""
        return len(self.edges) + len(self.knowledge)

    @cached_property
    def digest(self) -> str:
        """The digest of all that the procedure says."""
        return digest(self.to_json())

    @property
    def opens(self) -> str:
        """Who speaks first: "agent" or "user"."""
        return self.nodes[self.start].role

    @cached_property
    def decisive(self) -> frozenset[str]:
        """The variables whose value decides something: a way that is taken, or what the agent knows."""
        looked_at = {name for node in self.nodes.values() for way in node.ways for name in way.where}
        return frozenset(looked_at | {fact.of for fact in self.knowledge.values() if fact.of})

    @property
    def free(self) -> dict[str, tuple[str, ...]]:
        """The other variables, with their values."""
        return {name: pool for name, pool in self.variables.items() if name not in self.decisive}

    @cached_property
    def _interrupting(self) -> dict[str, Node]:
        """The steps of the interruptions as nodes of their own, from which no way leads."""
        found = {}
        for one in self.interruptions.values():
            found[one.id + HEARD] = Node(one.id + HEARD, "user", "", one.says, ())
            found[one.id + ANSWERED] = Node(one.id + ANSWERED, "agent", one.prompt, one.answers, ())
        return found

    def step(self, name: str) -> Node:
        """Return a node, or a step of an interruption; KeyError for neither."""
        return self.nodes[name] if name in self.nodes else self._interrupting[name]

    def speaks(self, step: str) -> str | None:
        """Who speaks at a node or a step of an interruption: "agent", "user", "tool" or None."""
        return self.step(step).speaker

    def tools(self) -> dict[str, list[dict]]:
        """Return what a stand-in has to know of each tool, for each node that calls it: {arguments, results, pools}.

        `arguments` and the possible `results` are templates, `pools` the values of what no argument says.
        """
        found: dict[str, list[dict]] = {}
        for node in self.nodes.values():
            if node.call:
                results = [way.result for way in node.ways]
                said = {name for result in results for template in result.values() for name in names(template)}
                pools = {name: list(self.variables[name]) for name in sorted(said - set(node.asks))}
                use = {"arguments": node.call.arguments, "results": results, "pools": pools}
                found.setdefault(node.call.name, []).append(use)
        return found

    def facts(self, values: Mapping[str, str]) -> dict[str, str]:
        """Return what the agent knows by heart under a draw."""
        known = {name: fact.known(values) for name, fact in self.knowledge.items()}
        return {name: text for name, text in known.items() if text is not None}

    def way(self, source: str, target: str) -> Way:
        """Return the way from one node to another; KeyError where there is none."""
        for way in self.nodes[source].ways:
            if way.to == target:
                return way
        raise KeyError(f"{source}->{target}")

    def to_json(self) -> str:
        """Return the canonical form."""
        nodes = {
            node.id: {
                "role": node.role,
                "prompt": node.prompt,
                "says": list(node.says),
                "outcome": node.outcome,
                "next": [
                    {
                        "to": way.to,
                        "when": way.when,
                        "says": list(way.says),
                        "where": _lists(way.where),
                        "result": way.result,
                    }
                    for way in node.ways
                ],
                "call": {"name": node.call.name, "arguments": node.call.arguments} if node.call else None,
            }
            for node in self.nodes.values()
        }
        head = {"agent": self.agent, "title": self.title, "system": self.system, "start": self.start}
        knowledge = {name: {"of": fact.of, "is": fact.texts} for name, fact in self.knowledge.items()}
        interruptions = {
            one.id: {
                "when": one.when,
                "says": list(one.says),
                "prompt": one.prompt,
                "answers": list(one.answers),
                "to": one.to,
                "corrects": list(one.corrects),
            }
            for one in self.interruptions.values()
        }
        body = {"variables": _lists(self.variables), "knowledge": knowledge, "nodes": nodes}
        return canonical({**head, "paths": {"rule": self.rule}, **body, "interruptions": interruptions})

    @classmethod
    def read(cls, path: str | Path) -> "Flowchart":
        """Read a file that holds the canonical form."""
        return cls.from_json(Path(path).read_text(encoding="utf-8"))

    @classmethod
    def from_json(cls, text: str) -> "Flowchart":
        """Read the canonical form; nodes and ways come in canonical order."""
        data = json.loads(text)
        nodes = {
            name: Node(
                id=name,
                role=node["role"],
                prompt=node["prompt"],
                says=tuple(node["says"]),
                ways=tuple(
                    Way(way["to"], way["when"], tuple(way["says"]), _tuples(way["where"]), way["result"])
                    for way in node["next"]
                ),
                outcome=node["outcome"],
                call=Call(**node["call"]) if node["call"] else None,
            )
            for name, node in sorted(data["nodes"].items())
        }
        return cls(
            agent=data["agent"],
            title=data["title"],
            system=data["system"],
            start=data["start"],
            rule=data["paths"]["rule"],
            variables=_tuples(data["variables"]),
            nodes=nodes,
            knowledge={name: Fact(fact["of"], fact["is"]) for name, fact in sorted(data["knowledge"].items())},
            interruptions={
                name: Interruption(
                    id=name,
                    when=one["when"],
                    says=tuple(one["says"]),
                    prompt=one["prompt"],
                    answers=tuple(one["answers"]),
                    to=one["to"],
                    corrects=tuple(one["corrects"]),
                )
                for name, one in sorted(data["interruptions"].items())
            },
        )


def walked(steps: Iterable[str]) -> list[str]:
    """Return the nodes of a conversation without its interruptions; what such a one jumped to is left out.

    >>> walked(["greet", "wait?", "wait!", "ask", "human?", "handed_over"])
    ['greet', 'ask']
    """
    found: list[str] = []
    before = ""
    for name in steps:
        if not name.endswith((HEARD, ANSWERED)) and not before.endswith(HEARD):
            found.append(name)
        before = name
    return found


def _lists(mapping: dict) -> dict:
    return {name: list(values) for name, values in mapping.items()}


def _tuples(mapping: dict) -> dict:
    return {name: tuple(values) for name, values in sorted(mapping.items())}
