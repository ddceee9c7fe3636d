"""The canonical procedure: nodes, ways and variables, once the checker has found nothing wrong.

Two specs that say the same (other comments, key order, layout) have the same canonical form, byte for byte.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from subterra.text import canonical, digest, names

RULES = ("simple", "trail", "visits: k")


@dataclass(frozen=True)
class Way:
    """A way out of a node: where it leads, when it is taken, what is said then, which draws allow it."""

    to: str
    when: str
    says: tuple[str, ...]
    where: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Node:
    """A step of the procedure: agent, user or end. An end with a prompt speaks the agent's closing words."""

    id: str
    role: str
    prompt: str
    says: tuple[str, ...]
    ways: tuple[Way, ...]
    outcome: str = ""

    @property
    def speaker(self) -> str | None:
        """Who speaks here: "agent", "user", or None for an end without words."""
        if self.role == "end":
            return "agent" if self.prompt else None
        return self.role

    @property
    def demands(self) -> tuple[str, ...]:
        """The variables whose value the agent has to say here: those its prompt names."""
        return names(self.prompt) if self.speaker == "agent" else ()


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

    @cached_property
    def digest(self) -> str:
        """The digest of all that the procedure says."""
        return digest(self.to_json())

    @property
    def opens(self) -> str:
        """Who speaks first: "agent" or "user"."""
        return self.nodes[self.start].role

    def speaks(self, node: str) -> str | None:
        """Who speaks at a node: "agent", "user" or None."""
        return self.nodes[node].speaker

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
                    {"to": way.to, "when": way.when, "says": list(way.says), "where": _lists(way.where)}
                    for way in node.ways
                ],
            }
            for node in self.nodes.values()
        }
        head = {"agent": self.agent, "title": self.title, "system": self.system, "start": self.start}
        return canonical({**head, "paths": {"rule": self.rule}, "variables": _lists(self.variables), "nodes": nodes})

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
                    Way(way["to"], way["when"], tuple(way["says"]), _tuples(way["where"])) for way in node["next"]
                ),
                outcome=node["outcome"],
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
        )


def _lists(mapping: dict) -> dict:
    return {name: list(values) for name, values in mapping.items()}


def _tuples(mapping: dict) -> dict:
    return {name: tuple(values) for name, values in sorted(mapping.items())}
