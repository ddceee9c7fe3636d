"""Where customers interrupt a conversation, and with what: by lot, at a set rate.

An interruption comes before a customer's turn that answers the agent. A correction takes back a value that the customer
has said and that the agent still has to use, so that a conversation shows whether the new one is used.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import accumulate
from typing import NamedTuple

from subterra.draws import Draws, names_of, step_of, steps_of
from subterra.flowchart import NEW, OLD, Flowchart, Interruption
from subterra.text import fraction


class Chance(NamedTuple):
    """An interruption that may come, and the variable that it corrects ("" for none)."""

    interruption: Interruption
    corrects: str


class Interrupter:
    """Puts interruptions into conversations that `Draws.of` made."""

    def __init__(self, flowchart: Flowchart, draws: Draws, seed: int):
        self.flowchart, self.draws, self.seed = flowchart, draws, seed
        self._step = cache(self._told)
        self._chances: dict[tuple[str, ...], dict[int, list[Chance]]] = {}

    def _told(self, name: str) -> dict:
        step = step_of(self.flowchart, name)
        return step | {"names": names_of(step), "used": _used(step)}

    def can_interrupt(self, nodes: Sequence[str]) -> bool:
        """Tell whether an interruption may come anywhere on a path."""
        return bool(self.chances(nodes))

    def chances(self, nodes: Sequence[str]) -> dict[int, list[Chance]]:
        """Return what may come before which node of a path, by its index; nothing for places where nothing may."""
        path = tuple(nodes)
        if path not in self._chances:
            self._chances[path] = {index: chances for index, chances in self._along(path) if chances}
        return self._chances[path]

    def at_rate(self, talk: dict, rate: float) -> dict:
        """Return a conversation in which each turn of the customer is interrupted with probability `rate`."""
        lots = {index: fraction("interruption", self.seed, talk["id"], index) for index in self.chances(talk["nodes"])}
        return self._with(talk, [index for index, lot in lots.items() if lot < rate])

    def once(self, talk: dict) -> dict:
        """Return a conversation that is interrupted at one place, drawn by lot; as it was where there is no chance."""
        places = self.chances(talk["nodes"])
        place = max(places, key=lambda index: fraction("once", self.seed, talk["id"], index), default=None)
        return self._with(talk, [] if place is None else [place])

    def _along(self, path: tuple[str, ...]) -> Iterator[tuple[int, list[Chance]]]:
        """Yield what may come before each turn of the customer that answers the agent."""
        steps = [self._step(name) for name in steps_of(self.flowchart, path)]
        due = [*accumulate((step["used"] for step in reversed(steps)), frozenset.union)][::-1]
        said = told = frozenset()
        for index, step in enumerate(steps):
            if step["speaker"] == "user" and index and steps[index - 1]["speaker"] == "agent":
                yield index, [chance for chance in self._open(said) if chance.corrects in told & due[index] | {""}]
            said |= step["names"]
            told |= step["names"] if step["speaker"] == "user" else frozenset()

    def _open(self, said: frozenset[str]) -> Iterator[Chance]:
        """Yield what may come once these variables have been said: interruptions whose answer knows what it names."""
        for one in self.flowchart.interruptions.values():
            named = frozenset().union(*(self._step(name)["names"] for name in one.steps)) - {OLD, NEW}
            facts = [self.flowchart.knowledge[name] for name in named & self.flowchart.knowledge.keys()]
            needed = (named - self.flowchart.knowledge.keys()) | {fact.of for fact in facts if fact.of}
            if needed <= said:
                yield from (Chance(one, name) for name in one.corrects if self.draws.has_another(name))
                if not one.corrects:
                    yield Chance(one, "")

    def _with(self, talk: dict, places: Sequence[int]) -> dict:
        nodes, steps = talk["nodes"], talk["steps"]
        new_nodes: list[str] = []
        new_steps: list[str] = []
        corrected: dict[str, str] = {}
        outcome, done = talk["outcome"], 0
        for index in places:
            chance = self._drawn(talk, index, corrected)
            if chance is None:
                continue
            new_nodes += [*nodes[done:index], *chance.interruption.steps]
            new_steps += [*steps[done:index], *chance.interruption.steps]
            done = index
            if chance.corrects:
                corrected = {chance.corrects: self.draws.another(talk, chance.corrects)}
            if chance.interruption.to:
                outcome, done = self.flowchart.nodes[chance.interruption.to].outcome, len(nodes)
                break
        told = {"nodes": [*new_nodes, *nodes[done:]], "steps": [*new_steps, *steps[done:]], "outcome": outcome}
        values = talk["values"] | self.draws.facts_on(told["steps"], talk["values"])
        return talk | told | {"values": values, "corrected": corrected}

    def _drawn(self, talk: Mapping, index: int, corrected: Mapping) -> Chance | None:
        """Return the chance that wins the lot: each interruption the same, and a second correction never."""
        chances = [one for one in self.chances(talk["nodes"])[index] if not (one.corrects and corrected)]

        def lot(chance: Chance) -> tuple[float, float]:
            name = chance.interruption.id
            return tuple(fraction(*key, self.seed, talk["id"], index) for key in ((name,), (name, chance.corrects)))

        return max(chances, key=lot, default=None)


def _used(step: Mapping) -> frozenset[str]:
    """Return the variables that the agent has to say or hand to a tool at a step."""
    return names_of({**step, "result": {}}) if step["speaker"] in ("agent", "tool") else frozenset()
