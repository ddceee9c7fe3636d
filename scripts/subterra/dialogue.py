"""A model and a customer talk: the raw material of every score.

Whatever has `reply(messages, *, temperature, seed, max_tokens) -> Reply` can be the agent.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from subterra.customer import ScriptedCustomer
from subterra.models import ContextFull
from subterra.progress import track
from subterra.text import digest
from subterra.tools import Answerer, StandIn, Tools, split_call


def hold_dialogue(
    model,
    scenario: dict,
    system: str,
    *,
    condition: str,
    temperature: float,
    seed: int,
    max_turns: int,
    own: Mapping[str, Answerer] = MappingProxyType({}),
) -> dict:
    """Let the agent talk with the scenario's customer and return a dialogue row (see records.DIALOGUE).

    The agent speaks first unless the scenario's customer does. What it asks of a tool is answered by one of the user's
    `own`, else from the scenario. It ends when the customer has no line left and the agent has answered (`finished`),
    when the agent says nothing (`empty_turn`), after `max_turns` turns of all (`turn_limit`), where the model can read
    no more (`context_full`), or where a tool's answer is not the scenario's, so that the rest cannot be judged
    (`other_result`).
    """
    customer = ScriptedCustomer(scenario)
    stand_in = StandIn(scenario)
    turns: list[dict] = []
    own_seed = dialogue_seed(seed, scenario["id"], temperature)
    stopped = "turn_limit"
    if scenario["turns"] and scenario["turns"][0]["role"] == "user":
        turns.append(_heard(customer.speak()))
    while len(turns) < max_turns:
        try:
            turns.append(_answer(model, turns, system, temperature, own_seed))
        except ContextFull:
            stopped = "context_full"
            break
        if call := turns[-1]["call"]:
            if len(turns) == max_turns:
                break
            expected = stand_in(json.loads(call))
            answer = Tools(own, lambda _, same=expected: same).answer(call)
            turns.append(_heard({"role": "tool", "content": answer, "nodes": []}))
            if json.loads(answer) != expected:
                stopped = "other_result"
                break
            continue
        if not turns[-1]["content"]:
            stopped = "empty_turn"
            break
        if customer.finished:
            stopped = "finished"
            break
        if len(turns) < max_turns:
            turns.append(_heard(customer.speak()))
    facts = {"id": scenario["id"], "split": scenario["split"], "condition": condition}
    return facts | {"temperature": float(temperature), "turns": turns, "stopped": stopped}


def hold_dialogues(
    model,
    scenarios: Sequence[dict],
    system: str,
    *,
    condition: str,
    temperature: float,
    seed: int,
    max_turns: int,
    own: Mapping[str, Answerer] = MappingProxyType({}),
) -> list[dict]:
    """Return one dialogue row a scenario, in their order; the order changes nothing in them."""
    settings = {"condition": condition, "temperature": temperature, "seed": seed, "max_turns": max_turns, "own": own}
    label = f"{condition} at temperature {temperature:g}"
    return [hold_dialogue(model, scenario, system, **settings) for scenario in track(scenarios, len(scenarios), label)]


def chosen(scenarios: Iterable[dict], wanted: Mapping[str, int]) -> list[dict]:
    """Return up to `wanted` scenarios of each split, by lot: more that are asked for leave those before in place."""
    by_lot = sorted(scenarios, key=lambda scenario: digest(scenario["id"]))
    return [
        scenario
        for split, count in wanted.items()
        for scenario in [one for one in by_lot if one["split"] == split][:count]
    ]


def prompts(scenarios: Iterable[dict], system: str, count: int) -> list[list[dict[str, str]]]:
    """Return `count` prompts for an agent's turn, cut out of scenarios at early and late turns in turn."""
    by_lot = sorted(scenarios, key=lambda scenario: digest(scenario["id"]))[:count]
    found = []
    for number, scenario in enumerate(by_lot):
        answers = [index for index, turn in enumerate(scenario["turns"]) if turn["role"] == "assistant"]
        found.append(messages(system, scenario["turns"][: answers[number % len(answers)]]))
    return found


def dialogue_seed(seed: int, scenario: str, temperature: float) -> int:
    """Return a seed (32 bits) that the scenario and the temperature alone decide, given the run's own."""
    return int(digest([seed, scenario, float(temperature)], 8), 16)


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
    return {**turn, "values": {}, "call": "", "tokens_in": 0, "tokens_out": 0, "seconds": 0.0}


def _answer(model, turns: list[dict], system: str, temperature: float, seed: int) -> dict:
    # Each turn draws anew: one seed for all would give every turn the same luck.
    turn_seed = (seed + len(turns)) % 2**32
    reply = model.reply(messages(system, turns), temperature=temperature, seed=turn_seed)
    words, call = split_call(reply.text)
    said = {"role": "assistant", "content": words, "nodes": [], "values": {}, "call": call}
    return said | {"tokens_in": reply.tokens_in, "tokens_out": reply.tokens_out, "seconds": reply.seconds}
