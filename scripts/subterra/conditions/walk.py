"""How a program gets along a flowchart by what a model answers: the same for every program that walks it.

It needs nothing but the standard library, so that a program in an environment of its own can use it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from subterra.conditions.asking import Asker, Question
from subterra.conditions.steps import CALLS, Step, about
from subterra.conditions.talk import told
from subterra.text import readable
from subterra.tools import split_call

Talk = Sequence[Mapping[str, str]]
Messages = list[dict[str, str]]


class Wording(Protocol):
    """How what a step asks is put to a model, as messages."""

    def speak(self, step: Step, talk: Talk) -> Messages:
        """Return what is sent where the agent speaks."""

    def ask(self, prompt: str, talk: Talk) -> Messages:
        """Return what is sent with a step's prompt `route` or `fill`."""

    def again(self, prompt: str, talk: Talk, answer: str, mend: str) -> Messages:
        """Return what is sent after an answer to `ask` that cannot be read."""


class ChatWording:
    """The step's prompt as the system's, the talk as messages; one message where a model chooses or fills in."""

    def __init__(self, opening: str, go_on: str):
        self.opening, self.go_on = opening, go_on

    def speak(self, step: Step, talk: Talk) -> Messages:
        """Return what is sent where the agent speaks."""
        return [{"role": "system", "content": step.speak}, *told(talk, self.opening, self.go_on)]

    def ask(self, prompt: str, talk: Talk) -> Messages:
        """Return what is sent with a step's prompt `route` or `fill`."""
        return about(prompt, talk)

    def again(self, prompt: str, talk: Talk, answer: str, mend: str) -> Messages:
        """Return what is sent after an answer that cannot be read."""
        return [*about(prompt, talk), {"role": "assistant", "content": answer}, {"role": "user", "content": mend}]


class TaskWording:
    """Each prompt is one task with the talk in it, as programs have it that hand tasks to an agent."""

    def speak(self, step: Step, talk: Talk) -> Messages:
        """Return what is sent where the agent speaks."""
        return about(step.speak, talk)

    def ask(self, prompt: str, talk: Talk) -> Messages:
        """Return what is sent with a step's prompt `route` or `fill`."""
        return about(prompt, talk)

    def again(self, prompt: str, talk: Talk, answer: str, mend: str) -> Messages:
        """Return what is sent after an answer that cannot be read."""
        return about(f"{prompt}\n\nYou answered: {answer}\n\n{mend}", talk)


async def spoken(step: Step, wording: Wording, talk: Talk, asker: Asker) -> str:
    """Return what the agent says at a step: words alone, since a call is a step of its own."""
    answer = await asker.ask(Question("speak", step.id, wording.speak(step, talk)))
    return split_call(answer)[0]


async def called(step: Step, wording: Wording, talk: Talk, asker: Asker) -> str:
    """Return the call of a tool's step as JSON, without arguments where the model's answers cannot be read."""
    arguments: Mapping[str, str] | None = step.arguments
    if step.fill:
        arguments = await _Reading(step, wording, talk, asker).read("call", step.fill, step.fill_again, step.filled)
    return readable({"name": step.tool, "arguments": arguments or {}})


async def way_on(step: Step, wording: Wording, talk: Talk, asker: Asker) -> str:
    """Return the step that comes next, the first one where the model's answers cannot be read."""
    if len(step.options) == 1:
        return step.options[0][1]
    if step.kind == CALLS and (found := step.after(talk[-1]["content"] if talk else "")):
        return found
    reading = _Reading(step, wording, talk, asker)
    return await reading.read("route", step.route, step.route_again, step.chosen) or step.options[0][1]


@dataclass(frozen=True)
class _Reading:
    """Asks, and asks once more where the answer cannot be read."""

    step: Step
    wording: Wording
    talk: Talk
    asker: Asker

    async def read(self, kind: str, prompt: str, mend: str, read: Callable[[str], Any]) -> Any:
        """Return what was read, None for nothing after two tries."""
        options = self.step.options if kind == "route" else ()
        messages = self.wording.ask(prompt, self.talk)
        for _ in range(2):
            answer = await self.asker.ask(Question(kind, self.step.id, messages, options))
            found = read(answer)
            if found is not None:
                return found
            messages = self.wording.again(prompt, self.talk, answer, mend)
        self.asker.guessed += 1
        return None
