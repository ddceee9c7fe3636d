"""What the other conditions would have sent for dialogues that were held, counted without asking anybody.

The conditions go through a dialogue by their own code and prompts. Where they ask a model they are answered with the
dialogue's own words and with the ways that its scenario takes; what they send is counted as it would be sent. LangGraph
and CrewAI are left out, since they add nothing to what is sent and much to the time: the steps, and what is asked at
each, are the same.
"""

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import pairwise, takewhile
from typing import Any

from subterra.conditions import Agent, Said
from subterra.conditions.asking import Asker, Question
from subterra.conditions.crew import CrewWording, crew_steps
from subterra.conditions.graph import graph_steps, graph_wording
from subterra.conditions.in_context import InContext
from subterra.conditions.steps import CALLS, HEARS, SAYS, Step
from subterra.conditions.talk import calling, plain
from subterra.conditions.walk import Wording, called, spoken, way_on
from subterra.costs import MESSAGE_TOKENS
from subterra.flowchart import ANSWERED, HEARD, Flowchart
from subterra.models import Reply
from subterra.text import readable

Count = Callable[[str], float]
Begin = Callable[[Asker], Agent]


def replay(
    condition: str, flowchart: Flowchart, scenarios: Iterable[Mapping], dialogues: Iterable[Mapping], count: Count
) -> list[dict[str, Any]]:
    """Return what a condition would have sent for each dialogue, in their order.

    `condition` is a name of CONDITIONS, `scenarios` are the conversations whose customers spoke, `count` tells the
    tokens of a text. A row: {id, trial, condition, calls, tokens_in, tokens_cached, tokens_out, turns}; `turns` are
    those that the talk has, `tokens_cached` those of tokens_in that a request begins with like the one before it in
    the talk. A talk follows its scenario's ways as long as its customer spoke; where a dialogue has no words for a
    turn (its agent left the procedure), they are the scenario's.
    """
    by_id = {scenario["id"]: scenario for scenario in scenarios}
    begin = CONDITIONS[condition](flowchart)

    async def all_of_them() -> list[dict[str, Any]]:
        rows = []
        for dialogue in dialogues:
            scenario = by_id[dialogue["id"]]
            turns, asker = told_again(scenario, dialogue), Counted(flowchart, scenario["nodes"], count)
            await answer_all(begin(asker), turns, asker)
            told = {"id": dialogue["id"], "trial": dialogue.get("trial", 0), "condition": condition}
            rows.append(told | asker.sums() | {"turns": len(turns)})
        return rows

    return asyncio.run(all_of_them())


async def answer_all(agent: Agent, turns: Sequence[Mapping], asker: "Counted") -> None:
    """Let an agent take each of its turns in a talk."""
    for place, turn in enumerate(turns):
        if turn["role"] == "assistant":
            asker.say(turn)
            await agent.turn(turns[:place])


class Walk:
    """The way of LangGraph's graph and of CrewAI's flow through the steps of one dialogue, without either."""

    def __init__(self, start: str, steps: Mapping[str, Step], wording: Wording, asker: Asker):
        self.steps, self.wording, self.asker = steps, wording, asker
        self._at, self._back = start, ""
        self._waits = self._fresh = False

    async def turn(self, turns: Sequence[Mapping]) -> Said:
        """Return the agent's next turn; one without words where the walk has come to an end before."""
        self.asker.begin(len(turns))
        self._talk, said = plain(turns), []
        if self._waits or (turns and self.steps[self._at].kind == HEARS):
            self._fresh = self.steps[self._at].kind == HEARS
            self._waits = False
            await self._go_on()
        while True:
            step = self.steps[self._at]
            if step.kind == SAYS:
                words = await spoken(step, self.wording, self._talk, self.asker)
                self._talk = [*self._talk, {"role": "assistant", "content": words, "call": ""}]
                said, self._fresh = [*said, words], False
            waits = step.kind == CALLS or (step.kind == HEARS and not self._fresh)
            if waits or step.last:
                break
            await self._go_on()
        self._waits = waits
        call = await called(step, self.wording, self._talk, self.asker) if step.kind == CALLS else ""
        return Said(calling(" ".join(said), call), self.asker.replies())

    async def _go_on(self) -> None:
        step = self.steps[self._at]
        self._back = self._at if step.kind == HEARS else self._back
        answered = step.id.endswith(ANSWERED)
        self._at = self._back if answered else await way_on(step, self.wording, self._talk, self.asker)


def _in_context(flowchart: Flowchart) -> Begin:
    return InContext(None, flowchart, temperature=0.0).agent


def _langgraph(flowchart: Flowchart) -> Begin:
    return partial(Walk, flowchart.start, graph_steps(flowchart), graph_wording())


def _crewai(flowchart: Flowchart) -> Begin:
    return partial(Walk, flowchart.start, crew_steps(flowchart), CrewWording(flowchart))


CONDITIONS = {"in_context": _in_context, "langgraph": _langgraph, "crewai": _crewai}


def told_again(scenario: Mapping, dialogue: Mapping) -> list[dict]:
    """Return the scenario's turns with the words of a dialogue, as far as its customer came."""
    said = {place: turn["content"] for place, turn in _placed(dialogue["turns"]) if turn["role"] != "tool"}
    heard = sum(turn["role"] == "user" for turn in dialogue["turns"])
    within = takewhile(lambda one: one[0][0] <= heard, _placed(scenario["turns"]))
    return [
        {**turn, "content": said.get(place) or turn["content"]} if turn["role"] != "tool" else dict(turn)
        for place, turn in within
    ]


def _placed(turns: Sequence[Mapping]) -> list[tuple[tuple[int, int, str], Mapping]]:
    """Return each turn with its place: (customer turns so far, tools' answers since, role); of equal ones the first."""
    found: dict[tuple[int, int, str], Mapping] = {}
    said = asked = 0
    for turn in turns:
        if turn["role"] == "user":
            said, asked = said + 1, 0
        elif turn["role"] == "tool":
            asked += 1
        found.setdefault((said, asked, turn["role"]), turn)
    return list(found.items())


class Counted:
    """Answers with what is known of a talk, and counts what was asked. `nodes` are the scenario's steps."""

    def __init__(self, flowchart: Flowchart, nodes: Sequence[str], count: Count):
        self.flowchart, self.nodes, self.count = flowchart, nodes, count
        self.guessed = self.calls = 0
        self._at = 0  # the step of the scenario that comes next
        self._in = self._cached = self._out = 0.0
        self._before: Sequence[Mapping[str, str]] = ()
        self._turn: Mapping = {}
        self._shares: list[str] = []

    def say(self, turn: Mapping) -> None:
        """Set the turn that the agent says next."""
        self._turn = turn
        speaking = [name for name in turn["nodes"] if self.flowchart.speaks(name) == "agent"]
        words, parts = turn["content"].split(" "), max(1, len(speaking))
        cuts = [len(words) * part // parts for part in range(parts + 1)]
        self._shares = [" ".join(words[start:end]) for start, end in pairwise(cuts)]

    def begin(self, place: int) -> None:
        """Begin the agent's turn."""

    def replies(self) -> tuple[Reply, ...]:
        """Return nothing: nobody was asked."""
        return ()

    def sums(self) -> dict[str, int]:
        """Return what was counted."""
        sums = {"tokens_in": self._in, "tokens_cached": self._cached, "tokens_out": self._out}
        return {"calls": self.calls} | {name: round(value) for name, value in sums.items()}

    async def ask(self, question: Question) -> str:
        """Return what the dialogue and its scenario answer."""
        answer = self._answer(question)
        self.calls += 1
        self._in += self._tokens(question.messages)
        self._cached += self._tokens(shared(self._before, question.messages))
        self._out += self.count(answer)
        self._before = question.messages
        return answer

    def _answer(self, question: Question) -> str:
        if question.kind == "turn":
            return calling(self._turn["content"], self._turn["call"])
        if question.kind == "speak":
            return self._shares.pop(0) if self._shares else self._turn["content"]
        if question.kind == "call":
            return readable(json.loads(self._turn["call"])["arguments"])
        letters = {to: letter for letter, to in question.options}
        return letters[self._next(question.step)]

    def _next(self, step: str) -> str:
        """Return the scenario's step after its next visit to one, or after what interrupts there."""
        hears = self.flowchart.speaks(step) == "user"
        while self.nodes[self._at] != step and not (hears and self.nodes[self._at].endswith(HEARD)):
            self._at += 1
        self._at += 1
        return self.nodes[self._at]

    def _tokens(self, messages: Sequence[Mapping[str, str]]) -> float:
        return sum(self.count(one["content"]) + MESSAGE_TOKENS / 4 for one in messages)


def shared(before: Sequence[Mapping], messages: Sequence[Mapping]) -> list[Mapping]:
    """Return what the messages begin with like those before: whole ones, then the beginning of one."""
    found = []
    for one, other in zip(before, messages, strict=False):
        if one == other:
            found.append(other)
            continue
        if one["role"] == other["role"]:
            same = takewhile(lambda pair: pair[0] == pair[1], zip(one["content"], other["content"], strict=False))
            found.append({**other, "content": "".join(letter for letter, _ in same)})
        break
    return found
