"""Whoever plays a scenario perfectly, whatever the condition, and the talk that comes of it."""

import json
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

from subterra.conditions.procedure import reason
from subterra.conformance import score_dialogue
from subterra.demands import label
from subterra.flowchart import HEARD, Flowchart
from subterra.models import Reply
from subterra.records import NOTHING
from subterra.tools import split_call

FREE = "none of the others: the customer goes on with what was asked"
COSTS = NOTHING | {"tokens_in": 1, "tokens_out": 1, "calls": 1}
TOLD = {"condition": "toy", "temperature": 0.0, "trial": 0, "customer": "scripted", "stopped": "finished"}


def written(turn: Mapping) -> str:
    """Return an agent's turn as a model writes it."""
    return f"{turn['content']}\n<tool_call>{turn['call']}</tool_call>" if turn["call"] else turn["content"]


class Perfect:
    """A Chat that plays the agent of a scenario and means what its customer means.

    It has nothing but the texts to go by: what is asked of it, the scenario, and the flowchart's reasons.
    """

    def __init__(self, flowchart: Flowchart, row: Mapping, whole_turns: bool = False):
        self.flowchart, self.nodes, self.whole_turns = flowchart, row["nodes"], whole_turns
        self.seen: list[list[dict]] = []
        self.seeds: list[int] = []
        self.spoken_by: list[tuple[str, str]] = []  # what was spoken, (step, system prompt or task)
        self._at = -1
        agent = [turn for turn in row["turns"] if turn["role"] == "assistant"]
        self._turns = iter([written(turn) for turn in agent])
        self._calls = iter([json.loads(turn["call"])["arguments"] for turn in agent if turn["call"]])
        self._words = iter([part for turn in agent for part in self._parts(turn)])

    async def reply(self, messages, *, temperature, seed, max_tokens=120, as_json=False) -> Reply:
        self.seen.append([dict(message) for message in messages])
        self.seeds.append(seed)
        return Reply(self._answer(messages, as_json), 10, 2, 0.5)

    def _answer(self, messages: Sequence[Mapping], as_json: bool) -> str:
        asked = messages[-1]["content"]
        if self.whole_turns:
            return next(self._turns)
        if as_json:
            self._go_to("tool")
            return json.dumps(next(self._calls))
        if "Answer with the letter alone" in asked:
            return self._letter(asked)
        self._go_to("agent")
        self.spoken_by.append((self.nodes[self._at], messages[0]["content"]))
        return next(self._words)

    def _letter(self, asked: str) -> str:
        """Return the letter before the reason for which the scenario goes on as it does."""
        if self._speaker(self._at + 1) == "user":
            self._at += 1
        elif "tool's last answer" in asked and self._speaker(self._at) != "tool":
            self._go_to("tool")
        here, there = self.nodes[self._at], self.nodes[self._at + 1]
        if here.endswith(HEARD):
            why = self.flowchart.interruptions[here.removesuffix(HEARD)].when
        else:
            why = reason(self.flowchart, self.flowchart.way(here, there)) or FREE
        found = re.search(rf"^([A-Z]+): {re.escape(why)}$", asked, re.MULTILINE)
        assert found, f"{here} -> {there}: {asked}"
        return found[1]

    def _go_to(self, speaker: str) -> None:
        self._at += 1
        while self._speaker(self._at) != speaker:
            self._at += 1

    def _speaker(self, at: int) -> str | None:
        return self.flowchart.speaks(self.nodes[at]) if 0 <= at < len(self.nodes) else None

    def _parts(self, turn: Mapping) -> list[str]:
        """Return the words of each of the agent's steps in a turn."""
        steps = [name for name in turn["nodes"] if self.flowchart.speaks(name) == "agent"]
        words = turn["content"].split(" ")
        cuts = [len(words) * part // max(1, len(steps)) for part in range(len(steps) + 1)]
        return [" ".join(words[start:end]) for start, end in pairwise(cuts)]


async def play(agent, row: Mapping) -> list[dict]:
    """Return the turns of a talk between an agent and a scenario's customer and tools, as long as it goes as there."""
    held: list[dict] = []
    for turn in row["turns"]:
        if turn["role"] == "assistant":
            said = await agent.turn(held)
            words, call = split_call(said.text)
            turn = {"role": "assistant", "content": words, "call": call, "guessed": said.guessed}
        held.append({**COSTS, **turn, "nodes": [], "values": {}})
    return held


def score(flowchart: Flowchart, row: Mapping, turns: Sequence[Mapping]) -> dict:
    """Return the score of a talk whose agent's turns are heard as what the scenario has in their place."""
    names = [label(flowchart, tuple(turn["nodes"])) for turn in row["turns"] if turn["role"] == "assistant"]
    dialogue = {"id": row["id"], "split": row["split"], "turns": turns} | TOLD
    return score_dialogue(flowchart, row, dialogue, [(name, 1.0) for name in names])
