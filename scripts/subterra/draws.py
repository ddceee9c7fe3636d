"""What is said on a path, and with which values: the steps of a path, what is held out of them, and the draw.

Each value has a lot for each conversation and the highest wins (rendezvous hashing), so that a value that is added to
a pool of n changes one draw in n + 1.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from subterra.flowchart import HEARD, NEW, OLD, Flowchart
from subterra.paths import Path
from subterra.routes import restrict
from subterra.text import digest, fraction, names

SMALLEST_POOL = 8  # pools below this keep all their values for training
FEWEST_SAYS = 4  # steps with fewer phrasings keep all of them


def hold_out_values(flowchart: Flowchart, share: float, seed: int) -> dict[str, tuple[str, ...]]:
    """Return the values of each variable kept out of training: about `share` of them, by lot, never all.

    A decisive variable and a pool of fewer than SMALLEST_POOL keep all of theirs.
    """
    found = {}
    for name, pool in flowchart.variables.items():
        open_to_lot = name not in flowchart.decisive and len(pool) >= SMALLEST_POOL
        drawn = tuple(v for v in pool if open_to_lot and fraction("value", seed, name, v) < share)
        found[name] = drawn if len(drawn) < len(pool) else ()
    return found


def hold_out_phrasings(says: Sequence[str], share: float, seed: int) -> list[str]:
    """Return the phrasings of a customer's step kept out of training: about `share` of them, by lot, at least one.

    A step of fewer than FEWEST_SAYS keeps all of its own, and where the share is 0 every step does.
    """
    if not share or len(says) < FEWEST_SAYS:
        return []
    lots = {line: fraction("phrasing", seed, line) for line in says}
    drawn = [line for line in says if lots[line] < share]
    return drawn if 0 < len(drawn) < len(says) else [min(says, key=lots.__getitem__)]


def steps_of(flowchart: Flowchart, path: Path) -> list[str]:
    """Return the names of the steps of a path: a node, or for customers and tools the way that is taken out of it."""
    ways = [f"{source}->{target}" for source, target in pairwise(path)]
    decided = ("user", "tool")
    return [way if flowchart.speaks(node) in decided else node for node, way in zip(path, [*ways, ""], strict=True)]


def step_of(flowchart: Flowchart, name: str, held_out: float = 0.0, seed: int = 0) -> dict:
    """Return all that a teacher and the checks need to know of a step, of a path or of an interruption.

    Of what a customer says, the share `held_out` is in `held_out_says` instead of `says`. A tool's step has `call` and
    `result`, both with templates; `corrects` tells whether values change with it.
    """
    source, _, target = name.partition("->")
    node = flowchart.step(source)
    way = flowchart.way(source, target) if target else None
    interruption = flowchart.interruptions.get(source.removesuffix(HEARD)) if source.endswith(HEARD) else None
    says = list(way.says if way and way.says else node.says)
    kept_out = hold_out_phrasings(says, held_out, seed) if node.speaker == "user" else []
    step = {
        "node": source,
        "speaker": node.speaker,
        "prompt": node.prompt,
        "when": way.when if way else interruption.when if interruption else "",
        "says": [line for line in says if line not in kept_out],
        "held_out_says": kept_out,
        "demands": list(node.demands),
        "corrects": bool(interruption and interruption.corrects),
    }
    called = {"name": node.call.name, "arguments": node.call.arguments} if node.call else None
    return step | ({"call": called, "result": way.result} if called and way else {})


def names_of(step: Mapping) -> frozenset[str]:
    """Return the variables and facts that a step may speak, hand to a tool or hear from it."""
    templates = [*step["says"], *step["held_out_says"]]
    if "call" in step:
        templates += [*step["call"]["arguments"].values(), *step["result"].values()]
    return frozenset([*step["demands"], *names(step["prompt"])]).union(*map(names, templates))


def values_along(
    steps: Sequence[Mapping], values: Mapping[str, str], corrected: Mapping[str, str]
) -> list[Mapping[str, str]]:
    """Return the values that hold at each step: the draw, until the customer corrects one.

    In the correction itself {old} and {new} are both of them. Steps with the same values share one mapping.
    """
    found, now = [], values
    for number, step in enumerate(steps):
        if step["corrects"]:
            ((name, new),) = corrected.items()
            now = {**values, name: new, OLD: values[name], NEW: new}
        elif number and OLD in now and not steps[number - 1]["corrects"]:
            now = {name: value for name, value in now.items() if name not in (OLD, NEW)}
        found.append(now)
    return found


class Draws:
    """Draws the values of conversations."""

    def __init__(self, flowchart: Flowchart, held_out: Mapping[str, Sequence[str]], seed: int):
        self.flowchart, self.held_out, self.seed = flowchart, held_out, seed
        self._pools: dict[tuple, tuple[list[str], np.ndarray]] = {}
        self._spoken: dict[str, frozenset[str]] = {}

    def has_held_out_values(self, row: dict) -> bool:
        """Tell whether a path speaks a variable some of whose values are held out."""
        return any(self.held_out[name] for name in self._spoken_on(steps_of(self.flowchart, row["nodes"])))

    def of(self, row: dict, split: str, count: int, with_held_out_values: bool) -> list[dict]:
        """Return `count` conversations of a path: id, path, split, nodes, steps, outcome and values."""
        if not count:
            return []
        steps = steps_of(self.flowchart, row["nodes"])
        spoken = self._spoken_on(steps)
        allowed: dict[str, frozenset[str]] = {}
        for source, target in pairwise(row["nodes"]):
            allowed = restrict(allowed, self.flowchart.way(source, target).where) or {}
        ids = [f"{row['path']}-{split}-{number}" for number in range(count)]
        lots = np.array([_number(self.seed, name) for name in ids], dtype=np.uint64)
        drawn = {name: self._draw(name, allowed.get(name), lots, with_held_out_values) for name in spoken}
        facts = {
            "path": row["path"],
            "split": split,
            "nodes": row["nodes"],
            "outcome": row["outcome"],
            "steps": steps,
            "corrected": {},
        }
        talks = []
        for number, name in enumerate(ids):
            values = {variable: values[number] for variable, values in drawn.items()}
            talks.append({"id": name, **facts, "values": values | self.facts_on(steps, values)})
        return talks

    def another(self, talk: Mapping, name: str) -> str:
        """Return another value of a variable that decides nothing, for a conversation without held-out values."""
        pool = [value for value in self._pool(name, None, False)[0] if value != talk["values"][name]]
        return max(pool, key=lambda value: _number(self.seed, talk["id"], "another", value))

    def has_another(self, name: str) -> bool:
        """Tell whether training knows more than one value of a variable."""
        return len(self._pool(name, None, False)[0]) > 1

    def facts_on(self, steps: Sequence[str], values: Mapping[str, str]) -> dict[str, str]:
        """Return the facts that are spoken on some steps, under a draw."""
        if not self.flowchart.knowledge:
            return {}
        spoken = frozenset().union(*map(self._names, steps))
        return {name: text for name, text in self.flowchart.facts(values).items() if name in spoken}

    def _draw(self, name: str, allowed: frozenset[str] | None, lots: np.ndarray, held_out: bool) -> list[str]:
        pool, numbers = self._pool(name, allowed, held_out)
        return [pool[best] for best in _mixed(lots[:, None] ^ numbers[None, :]).argmax(axis=1)]

    def _pool(self, name: str, allowed: frozenset[str] | None, held_out: bool) -> tuple[list[str], np.ndarray]:
        """Return the values that a draw is made from, and the number of each."""
        key = (name, allowed, held_out)
        if key not in self._pools:
            kept = frozenset(self.held_out[name])
            drawn_from = kept if held_out and kept else frozenset(self.flowchart.variables[name]) - kept
            pool = [
                value
                for value in self.flowchart.variables[name]
                if value in drawn_from and (allowed is None or value in allowed)
            ]
            numbers = np.array([_number(name, value) for value in pool], dtype=np.uint64)
            self._pools[key] = (pool, numbers)
        return self._pools[key]

    def _spoken_on(self, steps: Sequence[str]) -> list[str]:
        return sorted(set().union(*map(self._names, steps)) - self.flowchart.knowledge.keys())

    def _names(self, step: str) -> frozenset[str]:
        if step not in self._spoken:
            self._spoken[step] = names_of(step_of(self.flowchart, step))
        return self._spoken[step]


def _number(*parts: Any) -> int:
    return int(digest(list(parts), 16), 16)


def _mixed(numbers: np.ndarray) -> np.ndarray:
    """Spread 64-bit numbers evenly (the finalizer of MurmurHash3)."""
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        numbers = (numbers ^ (numbers >> np.uint64(33))) * np.uint64(factor)
    return numbers ^ (numbers >> np.uint64(33))
