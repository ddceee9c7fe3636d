"""Scenarios are played with a condition, many at once; a dialogue is kept the moment it is over.

What is kept is known by all that shapes it, so a run that was killed goes on where it was, and more scenarios or trials
ask for what is new alone.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from subterra.cache import Cache
from subterra.code import code_digest, file_digest
from subterra.conditions import Condition
from subterra.conditions.every import identity_of, open_condition
from subterra.customer import Customer, ModelCustomer, ScriptedCustomer, scenario_card
from subterra.dialogue import chosen, dialogue_seed, hold_dialogue
from subterra.flowchart import Flowchart
from subterra.models import Chat
from subterra.models.asking import Unanswered
from subterra.prompts import Prompts, prompts_digest
from subterra.sections import ABSENT, CODE, most_tokens, name_of, open_chat, temperature_of
from subterra.side_by_side import side_by_side
from subterra.text import digest, fraction
from subterra.tools import Answerer, DrawnStandIn, StandIn, own_tools

BROKEN = "unanswered"  # a dialogue that an endpoint broke off; it is not kept


@dataclass(frozen=True)
class Stage:
    """Where dialogues are held: who answers, who asks, and what all of them have in common.

    `customers` and `answerers` make a customer, and what answers for tools, for a scenario and a seed. `identity` is
    all that shapes a dialogue beside its scenario, its seed and its trial.
    """

    name: str
    condition: Condition
    customers: Callable[[dict, int], Customer]
    answerers: Callable[[dict], Answerer]
    temperature: float
    seed: int
    max_turns: int
    customer: str = "scripted"
    own: Mapping[str, Answerer] | None = None
    identity: Any = None

    async def hold(self, scenario: dict, trial: int) -> dict:
        """Hold one dialogue and return its row (see records.DIALOGUE)."""
        seed = dialogue_seed(self.seed, scenario["id"], self.temperature, trial)
        try:
            turns, stopped = await hold_dialogue(
                self.condition.begin(seed),
                self.customers(scenario, seed),
                scenario,
                self.answerers(scenario),
                max_turns=self.max_turns,
                own=self.own or {},
                strict=self.customer == "scripted",
            )
        except Unanswered:
            turns, stopped = [], BROKEN
        facts = {"id": scenario["id"], "split": scenario["split"], "condition": self.name, "customer": self.customer}
        return facts | {"temperature": self.temperature, "trial": trial, "turns": turns, "stopped": stopped}


async def hold_dialogues(
    stage: Stage, scenarios: Sequence[dict], *, trials: int = 1, parallel: int = 32, kept: Cache | None = None
) -> list[dict]:
    """Return a dialogue for each scenario and trial, in their order, `parallel` of them held at once.

    What stops one of them for good (a wrong key, the budget) is raised once the others are over.
    """

    async def held(scenario: dict, trial: int) -> dict:
        key = digest([stage.identity, scenario, trial, stage.seed, stage.temperature, stage.max_turns], 40)
        if kept and (row := kept.get(key)):
            return row | {"condition": stage.name}
        row = await stage.hold(scenario, trial)
        if kept and row["stopped"] != BROKEN:
            kept.keep(key, row)
        return row

    plays = [partial(held, scenario, trial) for scenario, trial in product(scenarios, range(trials))]
    return await side_by_side(plays, parallel, f"{stage.name} at temperature {stage.temperature:g}")


def scripted_stage(condition: Condition, **settings: Any) -> Stage:
    """Return a stage with the scenario's own customer and the scenario's own tools."""
    return Stage(condition=condition, customers=lambda one, _: ScriptedCustomer(one), answerers=StandIn, **settings)


@dataclass(frozen=True)
class Play:
    """What a shard of an evaluation is made of.

    `settings` is the config's `evaluation`, `customer` all settings of that section, `answering` those of the model
    that answers, a GGUF file or the endpoint of `section`.
    """

    condition: str
    temperature: float
    shard: int
    settings: Mapping[str, Any]
    customer: Mapping[str, Any]
    answering: Mapping[str, Any]
    section: str
    seed: int
    tools: Mapping[str, Any]
    cache: str | Path
    parallel: int
    threads: int = 1

    def hold(self, flowchart: Flowchart, scenarios: Sequence[dict]) -> list[dict]:
        """Hold the shard's dialogues with scenarios; return their rows (see records.DIALOGUE)."""
        mine = [
            one
            for one in chosen(scenarios, self.settings["scenarios"])
            if int(fraction("shard", one["id"]) * self.settings["shards"]) == self.shard
        ]
        return asyncio.run(self._held(flowchart, mine))

    async def _held(self, flowchart: Flowchart, scenarios: Sequence[dict]) -> list[dict]:
        purpose = f"{flowchart.agent} {self.condition}"
        sampled = self.temperature > 0 or self.customer["backend"] not in ABSENT
        async with AsyncExitStack() as stack:
            opened = open_chat(self.answering, self.section, self.cache, purpose, self.parallel, self.threads)
            chat, asking = await stack.enter_async_context(opened), None
            if self.customer["backend"] not in ABSENT:
                opened = open_chat(self.customer, "customer", self.cache, f"{purpose}, customer", self.parallel)
                asking = await stack.enter_async_context(opened)
            most = most_tokens(self.answering)
            condition = await stack.enter_async_context(
                open_condition(self.condition, chat, flowchart, self.temperature, most)
            )
            # What the user's own tools answer may be another thing each time.
            kept = None if self.tools else stack.enter_context(Cache(self.cache, paid=False))
            return await hold_dialogues(
                self._stage(flowchart, condition, asking),
                scenarios,
                trials=self.settings["trials"] if sampled else 1,
                parallel=self.parallel,
                kept=kept,
            )

    def _stage(self, flowchart: Flowchart, condition: Condition, asking: Chat | None) -> Stage:
        shared = {"seed": self.seed, "max_turns": self.settings["max_turns"], "own": own_tools(self.tools)}
        identity = [identity_of(self.condition, flowchart), _known_by(self.answering), code_digest(*CODE)]
        if asking is None:
            return scripted_stage(
                condition, name=self.condition, temperature=self.temperature, identity=identity, **shared
            )
        prompts, customer = Prompts("customer"), self.customer
        draws = {"temperature": temperature_of(customer), "max_tokens": most_tokens(customer)}
        identity += [flowchart.digest, _known_by(customer), prompts_digest("customer")]
        return Stage(
            name=self.condition,
            condition=condition,
            customers=lambda scenario, seed: ModelCustomer(
                asking, prompts, scenario_card(flowchart, scenario, prompts), seed=seed, **draws
            ),
            answerers=lambda scenario: _either(StandIn(scenario), DrawnStandIn(flowchart.tools())),
            temperature=self.temperature,
            customer=name_of(customer),
            identity=identity,
            **shared,
        )


def _known_by(settings: Mapping[str, Any]) -> list:
    """Return what tells one model from another."""
    if settings["backend"] == "gguf":
        return [file_digest(settings["file"]), settings["parameters"], settings.get("context")]
    return [settings["base_url"], settings["model"], settings["parameters"]]


def _either(first: Answerer, second: Answerer) -> Answerer:
    """Return what answers as the first does, and where that knows no answer, as the second."""

    def answer(call: dict) -> dict:
        found = first(call)
        return second(call) if "error" in found else found

    return answer
