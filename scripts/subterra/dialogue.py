"""An agent and a customer talk: the raw material of every score."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice, pairwise
from types import MappingProxyType
from typing import Any

from subterra.conditions import Agent, Said
from subterra.customer import Customer
from subterra.models import ContextFull
from subterra.records import NOTHING
from subterra.text import digest
from subterra.tools import Answerer, Tools, split_call


async def hold_dialogue(
    agent: Agent,
    customer: Customer,
    scenario: Mapping,
    answerer: Answerer,
    *,
    max_turns: int,
    own: Mapping[str, Answerer] = MappingProxyType({}),
    strict: bool = True,
) -> tuple[list[dict], str]:
    """Let the agent talk with the customer of a scenario; return (turns, what ended it), see records.DIALOGUE.

    The agent speaks first unless the scenario's customer does. What it asks of a tool is answered by one of the user's
    `own`, else by `answerer`. It ends when the customer has no more to say and the agent has answered (`finished`),
    when the agent says nothing (`empty_turn`), after `max_turns` turns of all (`turn_limit`), where the model can read
    no more (`context_full`), or, if `strict`, where a tool's answer is not the answerer's, so that the rest cannot be
    judged (`other_result`).
    """
    turns: list[dict] = []
    if scenario["turns"] and scenario["turns"][0]["role"] == "user" and (opening := await customer.speak(turns)):
        turns.append(_heard(opening))
    while len(turns) < max_turns:
        try:
            turns.append(_spoken(await agent.turn(turns)))
            if call := turns[-1]["call"]:
                if len(turns) == max_turns:
                    break
                expected = answerer(json.loads(call))
                answer = Tools(own, lambda _, same=expected: same).answer(call)
                turns.append(_heard({"role": "tool", "content": answer, "nodes": []}))
                if strict and json.loads(answer) != expected:
                    return turns, "other_result"
                continue
            if not turns[-1]["content"]:
                return turns, "empty_turn"
            if (heard := await customer.speak(turns)) is None:
                return turns, "finished"
        except ContextFull:
            return turns, "context_full"
        if len(turns) < max_turns:
            turns.append(_heard(heard))
    return turns, "turn_limit"


def chosen(scenarios: Iterable[dict], wanted: Mapping[str, int]) -> list[dict]:
    """Return up to `wanted` scenarios of each split, spread over the paths and ways that there are (see `spread`)."""
    scenarios = list(scenarios)
    return [
        scenario
        for split, count in wanted.items()
        for scenario in islice(spread(one for one in scenarios if one["split"] == split), count)
    ]


def spread(scenarios: Iterable[dict]) -> Iterator[dict]:
    """Yield scenarios so that every beginning is spread: the paths, then the edges, that came least so far go first.

    Among equals the lot decides, so that more that are asked for leave those before in place.
    """
    waiting = sorted(scenarios, key=lambda scenario: digest(scenario["id"]))
    edges_of = {scenario["id"]: set(pairwise(scenario["nodes"])) for scenario in waiting}
    paths, edges = Counter(), Counter()

    def seen(scenario: dict) -> tuple[int, int]:
        return paths[scenario["path"]], min((edges[edge] for edge in edges_of[scenario["id"]]), default=0)

    while waiting:
        best = min(waiting, key=seen)
        waiting.remove(best)
        paths[best["path"]] += 1
        edges.update(edges_of[best["id"]])
        yield best


def prompts(scenarios: Iterable[dict], system: str, count: int) -> list[list[dict[str, str]]]:
    """Return `count` prompts for an agent's turn, cut out of scenarios at early and late turns in turn."""
    by_lot = sorted(scenarios, key=lambda scenario: digest(scenario["id"]))[:count]
    found = []
    for number, scenario in enumerate(by_lot):
        answers = [index for index, turn in enumerate(scenario["turns"]) if turn["role"] == "assistant"]
        found.append(messages(system, scenario["turns"][: answers[number % len(answers)]]))
    return found


def dialogue_seed(seed: int, scenario: str, temperature: float, trial: int = 0) -> int:
    """Return a seed (32 bits) that scenario, temperature and trial alone decide, given the run's own."""
    return int(digest([seed, scenario, float(temperature), *([trial] if trial else [])], 8), 16)


def messages(system: str, turns: Iterable[Mapping]) -> list[dict[str, Any]]:
    """Return chat messages: the system prompt (where there is one), then role, content and call of each turn."""
    opening = [{"role": "system", "content": system}] if system else []
    return opening + [_message(turn) for turn in turns]


def _message(turn: Mapping) -> dict[str, Any]:
    message = {"role": turn["role"], "content": turn["content"]}
    if turn.get("call"):
        message["tool_calls"] = [{"type": "function", "function": json.loads(turn["call"])}]
    return message


def _heard(turn: Mapping) -> dict:
    return {**turn, "values": {}, "call": "", **NOTHING}


def _spoken(said: Said) -> dict:
    words, call = split_call(said.text)
    counts = {
        key: sum((getattr(reply, key) for reply in said.replies), none)
        for key, none in NOTHING.items()
        if key not in ("calls", "guessed")
    }
    turn = {"role": "assistant", "content": words, "nodes": [], "values": {}, "call": call}
    return turn | counts | {"calls": len(said.replies), "guessed": said.guessed}
