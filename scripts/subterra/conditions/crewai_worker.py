"""CrewAI's side: a Flow for each talk, in the environment where CrewAI is installed.

The parent (conditions.crew) sends a line of JSON for the plan and for each turn; it gets back what the Flow asks of the
model and what the agent says. The parent asks the model, so no key comes here, and nothing is sent anywhere.
Run as a module, with the parent's folder of modules on the path.
"""

import asyncio
import json
import os
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any

from subterra.conditions.asking import Question
from subterra.conditions.steps import CALLS, HEARS, SAYS, Step
from subterra.conditions.talk import calling
from subterra.conditions.walk import TaskWording, called, spoken, way_on
from subterra.flowchart import ANSWERED

LONGEST_LINE = 1 << 26  # bytes
THREADS = 64  # CrewAI calls its model in a thread that waits
TOO_OFTEN = 1_000_000  # calls of a Flow's method; the talk has its own limit
WORDING = TaskWording()


def agent_of(plan: Mapping[str, Any]) -> Any:
    """Return CrewAI's Agent, with a model behind the pipe."""
    from crewai import Agent
    from crewai.llms.base_llm import BaseLLM

    class Piped(BaseLLM):
        """What the parent's model answers."""

        def call(self, messages: str | list, *_: Any, **__: Any) -> str:
            """Ask the parent, from a thread of CrewAI's."""
            talk = TALK.get()
            sent = [{"role": one["role"], "content": one["content"]} for one in messages]
            return asyncio.run_coroutine_threadsafe(talk.answered(sent), talk.loop).result()

        def supports_function_calling(self) -> bool:
            """Tell that it writes text alone."""
            return False

        def get_input_tokens_count(self, *_: Any, **__: Any) -> int:
            """Return nothing to worry about: the parent counts."""
            return 0

    return Agent(
        role=plan["role"],
        goal=plan["goal"],
        backstory=plan["system"],
        llm=Piped(model="parent"),
        max_iter=1,
        max_retry_limit=0,
        allow_delegation=False,
    )


class Talk:
    """One dialogue: the talk so far, and who is waited for. It is the Asker of the walk."""

    def __init__(self, name: str, plan: Mapping[str, Any], send: Callable[[dict], None]):
        self.name, self.send = name, send
        self.loop = asyncio.get_running_loop()
        self.agent = agent_of(plan)
        self.turns: asyncio.Queue = asyncio.Queue()
        self.answers: asyncio.Queue = asyncio.Queue()
        self.talk: list[dict] = []
        self.said: list[str] = []
        self.spoken = 0  # steps since the customer's last turn
        self.guessed = 0
        self.fresh = False
        self.back = ""
        self.question: Question | None = None

    async def ask(self, question: Question) -> str:
        """Let the agent do a step, as a task."""
        self.question = question
        output = await self.agent.kickoff_async(question.messages[0]["content"])
        return output.raw

    async def answered(self, sent: list[dict]) -> str:
        """Return what the parent's model answers to the messages that CrewAI made of the task."""
        asked = {"kind": self.question.kind, "step": self.question.step, "options": self.question.options}
        self.send({"talk": self.name, "ask": sent, **asked})
        return await self.answers.get()

    async def wait(self, call: str = "", over: bool = False) -> None:
        """Hand over the agent's turn, if it has said or called anything, and wait for the next one."""
        self.hand_over(call, over)
        self.talk = await self.turns.get()

    def hand_over(self, call: str, over: bool) -> None:
        """Send what was said since the last turn."""
        told = {"said": calling(" ".join(self.said), call), "guessed": self.guessed, "over": over}
        self.send({"talk": self.name, **told})
        self.said, self.guessed, self.spoken = [], 0, 0


TALK: ContextVar[Talk] = ContextVar("talk")


def flow_of(plan: Mapping[str, Any]) -> type:
    """Return the Flow of a flowchart: for each step a method that does it, and a router that says what comes next."""
    from crewai.flow.flow import Flow, listen, router, start

    steps = [Step.of(step) for step in plan["steps"]]
    parts: dict[str, Any] = {"__module__": __name__, "begin": start()(_begin)}
    parts["first"] = router("begin", emit=[_label(plan["start"])])(_first(plan["start"]))
    customers = [step.id for step in steps if step.kind == HEARS]
    for number, step in enumerate(steps):
        parts[f"step_{number}"] = listen(_label(step.id))(_doing(step, len(steps)))
        if not step.last:
            targets = customers if step.id.endswith(ANSWERED) else [to for _, to in step.options]
            emit = [_label(to) for to in dict.fromkeys(targets)]
            parts[f"after_{number}"] = router(f"step_{number}", emit=emit)(_going_on(step))
    return type("Procedure", (Flow,), parts)


def _label(step: str) -> str:
    return f"to {step}"  # no method is called so


async def _begin(self: Any) -> None:
    pass


def _first(step: str) -> Callable:
    async def first(self: Any) -> str:
        return _label(step)

    return first


def _doing(step: Step, most: int) -> Callable:
    async def do(self: Any) -> None:
        talk = TALK.get()
        if step.kind == SAYS:
            talk.spoken += 1
            if talk.spoken > most:
                raise RecursionError("round in circles without a customer")
            words = await spoken(step, WORDING, talk.talk, talk)
            talk.talk = [*talk.talk, {"role": "assistant", "content": words, "call": ""}]
            talk.said, talk.fresh = [*talk.said, words], False
        elif step.kind == CALLS:
            await talk.wait(await called(step, WORDING, talk.talk, talk))
            talk.fresh = False
        elif step.kind == HEARS:
            if not talk.fresh:
                await talk.wait()
            talk.fresh, talk.back = True, step.id

    return do


def _going_on(step: Step) -> Callable:
    async def go_on(self: Any) -> str:
        talk = TALK.get()
        if step.id.endswith(ANSWERED):
            return _label(talk.back)
        return _label(await way_on(step, WORDING, talk.talk, talk))

    return go_on


async def hold(talk: Talk, flow: type) -> None:
    """Hold a dialogue from its first turn to the end of its flow."""
    TALK.set(talk)
    talk.talk = await talk.turns.get()
    try:
        await flow(suppress_flow_events=True, max_method_calls=TOO_OFTEN).kickoff_async()
    except RecursionError:
        talk.said = []
    except Exception as problem:
        talk.send({"talk": talk.name, "problem": f"{type(problem).__name__}: {problem}"})
        return
    talk.hand_over("", True)


async def serve(lines: asyncio.StreamReader, send: Callable[[dict], None]) -> None:
    """Answer the parent's lines until there are no more."""
    plan = json.loads(await lines.readline())
    flow = flow_of(plan)
    talks: dict[str, tuple[Talk, asyncio.Task]] = {}
    send({"ready": True})
    while line := await lines.readline():
        told = json.loads(line)
        name = told["talk"]
        if name not in talks and "turns" in told:
            talk = Talk(name, plan, send)
            task = asyncio.create_task(hold(talk, flow))
            task.add_done_callback(lambda _, name=name: talks.pop(name, None))
            talks[name] = (talk, task)
        if name not in talks:
            continue
        talk, task = talks[name]
        if "turns" in told:
            talk.turns.put_nowait(told["turns"])
        elif "answer" in told:
            talk.answers.put_nowait(told["answer"])
        else:
            talk.answers.put_nowait("")  # a thread waits for it
            task.cancel()


def _quietly() -> Callable[[dict], None]:
    """Keep what CrewAI prints away from the pipe to the parent; return what writes a line into it."""
    from crewai.events.event_listener import EventListener

    pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    EventListener().formatter.verbose = False

    def send(told: dict) -> None:
        pipe.write(json.dumps(told) + "\n")
        pipe.flush()

    return send


async def main() -> None:
    """Serve the parent at the other end of standard input and output."""
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(THREADS))
    lines = asyncio.StreamReader(LONGEST_LINE)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    await serve(lines, _quietly())


if __name__ == "__main__":
    asyncio.run(main())
    sys.stdout.flush()
    os._exit(0)  # threads of talks that were given up may still wait
