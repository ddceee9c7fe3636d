"""Who asks: a customer that says its own lines, or a model that plays one. Neither knows anything of the flowchart."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from subterra.conformance import says
from subterra.flowchart import HEARD, Flowchart
from subterra.models import Chat
from subterra.prompts import Prompts
from subterra.text import fill, names

END = "[END]"  # a model writes it when its customer has no more to say
SILENT = 3  # times that a model may say nothing before its customer is taken to have left


class Customer(Protocol):
    """Whoever asks in one dialogue."""

    async def speak(self, turns: Sequence[Mapping]) -> dict | None:
        """Return the customer's next turn ({role, content, nodes}) after `turns`; None where it has no more to say."""


class ScriptedCustomer:
    """Replays the customer turns of a scenario (a conversation row), in order, whatever the agent answers.

    So an agent that leaves the procedure is not led back to it, and every condition hears the same words.
    """

    def __init__(self, scenario: Mapping):
        self._turns = [turn for turn in scenario["turns"] if turn["role"] == "user"]
        self._said = 0

    async def speak(self, turns: Sequence[Mapping]) -> dict | None:
        """Return the next turn of the scenario's customer."""
        if self._said == len(self._turns):
            return None
        turn = self._turns[self._said]
        self._said += 1
        return {"role": "user", "content": turn["content"], "nodes": list(turn["nodes"])}


class ModelCustomer:
    """A model plays the customer of a scenario: it sees the scenario's card and the talk so far.

    `seed` (32 bits) decides its draws. The talk is over when the model writes END, alone or behind its last words.
    """

    def __init__(self, chat: Chat, prompts: Prompts, card: Mapping, *, temperature: float, seed: int, max_tokens: int):
        self.chat, self.seed, self.temperature, self.max_tokens = chat, seed, temperature, max_tokens
        self._system = prompts.write("system", end=END, **card)
        self._opening = prompts.write("opening")
        self._left = False

    async def speak(self, turns: Sequence[Mapping]) -> dict | None:
        """Return what the model says next. Raises what its chat raises."""
        if self._left:
            return None
        messages = [{"role": "system", "content": self._system}, *self._heard(turns)]
        for trial in range(SILENT):
            seed = (self.seed + SILENT * len(turns) + trial) % 2**32
            reply = await self.chat.reply(messages, temperature=self.temperature, seed=seed, max_tokens=self.max_tokens)
            words, end, _ = reply.text.partition(END)
            self._left = bool(end)
            if words.strip():
                return {"role": "user", "content": words.strip(), "nodes": []}
            if end:
                return None
        return None

    def _heard(self, turns: Sequence[Mapping]) -> list[dict[str, str]]:
        """Return the talk as the customer has it: the agent is the other one, and tools are not heard."""
        mine = {"user": "assistant", "assistant": "user"}
        heard = [
            {"role": mine[turn["role"]], "content": turn["content"]}
            for turn in turns
            if turn["role"] in mine and turn["content"]
        ]
        return heard if heard and heard[0]["role"] == "user" else [{"role": "user", "content": self._opening}, *heard]


def scenario_card(flowchart: Flowchart, scenario: Mapping, prompts: Prompts) -> dict[str, Any]:
    """Return what a customer knows of its scenario: {agent, style, mood, knows, corrected, course}.

    `knows` are the values that the scenario's customer says, `corrected` holds the one that it takes back, `course` is
    what happens on its side, in order. Nothing of it is the agent's: no instruction, no way that is not taken.
    """
    heard = [turn["content"] for turn in scenario["turns"] if turn["role"] == "user"]
    values, corrected = scenario["values"], scenario["corrected"]
    return {
        "agent": flowchart.title,
        "style": prompts.drawn("styles", scenario["id"]),
        "mood": prompts.drawn("moods", scenario["id"]),
        "knows": {
            name: value
            for name, value in values.items()
            if name not in flowchart.knowledge and any(says(words, value) for words in heard)
        },
        "corrected": {name: {"first": values[name], "then": new} for name, new in corrected.items()},
        "course": [_told(words, values) for words in _course(flowchart, scenario["nodes"])],
    }


def _course(flowchart: Flowchart, nodes: Sequence[str]) -> list[str]:
    """Return what the customer means at each of its steps: why it takes its way, or what its step is for."""
    found = []
    for here, there in zip(nodes, [*nodes[1:], ""], strict=True):
        if here.endswith(HEARD):
            found.append(flowchart.interruptions[here.removesuffix(HEARD)].when)
        elif flowchart.speaks(here) == "user":
            ways = {way.to: way.when for way in flowchart.nodes[here].ways}
            found.append(ways.get(there, "") or flowchart.nodes[here].prompt)
    return [words for words in found if words]


def _told(words: str, values: Mapping[str, str]) -> str:
    return fill(words, {name: values.get(name, name) for name in names(words)})
