"""What a procedure demands of the agent in a scenario: after each of the customer's turns and each tool's answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from subterra.flowchart import HEARD, NEW, OLD, Flowchart
from subterra.text import filled

MOST_RUNS = 1_000

Run = tuple[str, ...]


@dataclass(frozen=True)
class Demand:
    """What the agent has to do after a customer turn or a tool's answer: one of `runs`, the scenario's own first.

    A run holds step names, the tool that it calls and an end without words included. `after` is the step before, "" at
    the start; `place` counts (customer turns so far, tool answers since); `values` is the draw as it holds there.
    """

    after: str
    place: tuple[int, int]
    runs: tuple[Run, ...]
    values: Mapping[str, str]


def expected_runs(flowchart: Flowchart, scenario: dict) -> list[Demand]:
    """Return what is demanded before the customer's first turn, and after each of its turns and of a tool's.

    `runs` is ((),) where nothing is demanded: before the first words of a customer who opens the talk.
    """
    return [
        Demand(
            after, place, tuple(dict.fromkeys([own, *legal_runs(flowchart, own[0], values)] if own else [()])), values
        )
        for after, place, own, values in _own_runs(flowchart, scenario)
    ]


def label(flowchart: Flowchart, run: Run) -> str:
    """Return the nodes of a run that speak, joined by "+": the name under which a matcher hears it."""
    return "+".join(node for node in run if flowchart.speaks(node) == "agent")


def is_due(flowchart: Flowchart, run: Run) -> bool:
    """Tell whether a run takes a turn of the agent: it speaks or calls a tool."""
    return any(flowchart.speaks(name) for name in run)


def call_of(flowchart: Flowchart, run: Run, values: Mapping[str, str]) -> dict:
    """Return the call at the end of a run, {} for none."""
    call = flowchart.step(run[-1]).call
    return {"name": call.name, "arguments": filled(call.arguments, values)} if call else {}


def demanded_values(flowchart: Flowchart, run: Run, values: Mapping[str, str]) -> list[str]:
    """Return the variables and facts that a run has to say, each once."""
    demanded = dict.fromkeys(name for step in run for name in flowchart.step(step).demands)
    return [name for name in demanded if name in values]


def _own_runs(flowchart: Flowchart, scenario: dict) -> list[tuple[str, tuple[int, int], Run, Mapping[str, str]]]:
    """Cut a scenario at what the agent reacts to: (step before, place, the agent's steps, values)."""
    now = scenario["values"]
    found: list[tuple[str, tuple[int, int], list[str], Mapping[str, str]]] = [("", (0, 0), [], now)]
    speaker = ""
    for name in scenario["nodes"]:
        before, speaker = speaker, flowchart.speaks(name)
        said, asked = found[-1][1]
        if speaker == "user":
            now = _values_after(flowchart, name, scenario, now)
            if before == "user":
                said -= 1
                found.pop()
            found.append((name, (said + 1, 0), [], now))
        else:
            found[-1][2].append(name)
            if speaker == "tool":
                found.append((name, (said, asked + 1), [], now))
    return [(after, place, tuple(run), values) for after, place, run, values in found]


def _values_after(flowchart: Flowchart, name: str, scenario: dict, now: Mapping[str, str]) -> Mapping[str, str]:
    """Return the values that hold once the customer has taken a step."""
    interruption = flowchart.interruptions.get(name.removesuffix(HEARD)) if name.endswith(HEARD) else None
    if interruption and interruption.corrects:
        ((corrected, new),) = scenario["corrected"].items()
        return {**scenario["values"], corrected: new, OLD: scenario["values"][corrected], NEW: new}
    return {variable: value for variable, value in now.items() if variable not in (OLD, NEW)}


def legal_runs(flowchart: Flowchart, first: str, values: Mapping[str, str]) -> list[Run]:
    """Return the runs of agent steps from `first` that the draw allows, no edge twice, at most MOST_RUNS."""
    found: list[Run] = []
    waiting: list[Run] = [(first,)]
    while waiting and len(found) < MOST_RUNS:
        run = waiting.pop()
        taken = set(pairwise(run))
        node = flowchart.step(run[-1])
        if node.role == "tool" or not node.ways:
            found.append(run)
            continue
        if any(flowchart.speaks(way.to) == "user" and _fits(way, values) for way in node.ways):
            found.append(run)
        for way in node.ways:
            if flowchart.speaks(way.to) != "user" and _fits(way, values) and (run[-1], way.to) not in taken:
                waiting.append((*run, way.to))
    return found


def _fits(way, values: Mapping[str, str]) -> bool:
    return all(values.get(name, allowed[0]) in allowed for name, allowed in way.where.items())
