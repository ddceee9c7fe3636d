"""CrewAI: a Flow with a method for each step of the flowchart, in an environment of its own.

Its Flow runs in a process of its own (conditions.crewai_worker) and hands every step to an Agent of CrewAI. What that
asks of its model comes here and is asked through the same Chat as in every other condition.
"""

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any

import subterra
from subterra.conditions import Said
from subterra.conditions.asking import Asker, ChatAsker, Question
from subterra.conditions.steps import Step, steps_of
from subterra.conditions.talk import plain
from subterra.conditions.walk import Messages, Talk, TaskWording
from subterra.errors import SubterraError
from subterra.flowchart import Flowchart
from subterra.models import MOST_TOKENS, Chat
from subterra.prompts import Prompts

PYTHON = Path(".venv-crewai") / "bin" / "python"
QUIET = {
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_DISABLE_TRACKING": "true",
    "CREWAI_DISABLE_VERSION_CHECK": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "OTEL_SDK_DISABLED": "true",
}
KEPT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")  # of our environment; a key is none of it
LONGEST_LINE = 1 << 26  # bytes


class CrewWording(TaskWording):
    """Each prompt as CrewAI sends it: what its Agent is, and the prompt as its task."""

    def __init__(self, flowchart: Flowchart):
        self.prompts = Prompts("crewai")
        self.told = {"role": self.prompts.write("role"), "goal": self.prompts.write("goal"), "system": flowchart.system}
        self._system = self.prompts.write("system", **self.told)

    def speak(self, step: Step, talk: Talk) -> Messages:
        """Return what is sent where the agent speaks."""
        return self._wrapped(super().speak(step, talk))

    def ask(self, prompt: str, talk: Talk) -> Messages:
        """Return what is sent with a step's prompt `route` or `fill`."""
        return self._wrapped(super().ask(prompt, talk))

    def again(self, prompt: str, talk: Talk, answer: str, mend: str) -> Messages:
        """Return what is sent after an answer that cannot be read."""
        return self._wrapped(super().again(prompt, talk, answer, mend))

    def _wrapped(self, messages: Messages) -> Messages:
        user = self.prompts.write("user", task=messages[0]["content"])
        return [{"role": "system", "content": self._system}, {"role": "user", "content": "\n" + user}]


def crew_steps(flowchart: Flowchart) -> dict[str, Step]:
    """Return what CrewAI's Agent is asked at each step."""
    return steps_of(flowchart, Prompts("crewai"))


class CrewCondition:
    """The condition `crewai`. `python` is the interpreter of the environment where CrewAI is installed.

    `close` ends its process. Raises SubterraError where there is no such environment.
    """

    def __init__(
        self,
        chat: Chat,
        flowchart: Flowchart,
        *,
        temperature: float,
        max_tokens: int = MOST_TOKENS,
        python: str | Path = PYTHON,
    ):
        if shutil.which(str(python)) is None:
            raise SubterraError(f"condition crewai: no interpreter at {python}: make its environment by  make crewai")
        self.chat, self.temperature, self.max_tokens = chat, temperature, max_tokens
        told = CrewWording(flowchart).told
        steps = [asdict(step) for step in crew_steps(flowchart).values()]
        self.worker = Worker(python, told | {"start": flowchart.start, "steps": steps})

    def begin(self, seed: int) -> "CrewAgent":
        """Return an agent for a new dialogue."""
        return CrewAgent(self.worker, ChatAsker(self.chat, seed, self.temperature, self.max_tokens))

    async def close(self) -> None:
        """End the process."""
        await self.worker.close()


class CrewAgent:
    """Answers in one dialogue: a Flow in the other process."""

    def __init__(self, worker: "Worker", asker: Asker):
        self.worker, self.asker = worker, asker
        self._name = worker.new_name()
        self._over = False

    async def turn(self, turns: Sequence[Mapping]) -> Said:
        """Return the agent's next turn; one without words where the Flow has come to an end before."""
        self.asker.begin(len(turns))
        if self._over:
            return Said("", ())
        await self.worker.send(self._name, turns=plain(turns))
        while True:
            told = await self.worker.heard(self._name)
            if "said" in told:
                if not told["said"] and not told["over"] and turns and not self.asker.replies():
                    # A Flow that begins with the customer first waits for the turn that it was begun with.
                    await self.worker.send(self._name, turns=plain(turns))
                    continue
                self.asker.guessed += told["guessed"]
                if told["over"]:
                    self._leave()
                return Said(told["said"], self.asker.replies(), self.asker.guessed)
            await self.worker.send(self._name, answer=await self._answer(told))

    async def _answer(self, told: Mapping[str, Any]) -> str:
        options = tuple((letter, to) for letter, to in told["options"])
        try:
            return await self.asker.ask(Question(told["kind"], told["step"], told["ask"], options))
        except BaseException:
            await self.worker.send(self._name, left=True)
            self._leave()
            raise

    def _leave(self) -> None:
        self._over = True
        self.worker.forget(self._name)


class Worker:
    """The process with CrewAI in it, for many talks at once; it starts when it is first needed."""

    def __init__(self, python: str | Path, plan: Mapping[str, Any]):
        self.python, self.plan = python, plan
        self._names = count()
        self._process: asyncio.subprocess.Process | None = None
        self._talks: dict[str, asyncio.Queue] = {}
        self._starting: asyncio.Lock | None = None
        self._reading: asyncio.Task | None = None
        self._storage = ""

    def new_name(self) -> str:
        """Return a name for a new talk."""
        return str(next(self._names))

    async def send(self, talk: str, **told: Any) -> None:
        """Tell the process something of a talk."""
        await self._started()
        if self._reading.done():
            raise SubterraError(f"condition crewai: {self.python}: {self._last_words()}")
        self._talks.setdefault(talk, asyncio.Queue())
        self._write({"talk": talk, **told})

    async def heard(self, talk: str) -> dict:
        """Return what the process tells of a talk next. Raises SubterraError where something went wrong there."""
        told = await self._talks[talk].get()
        if "problem" in told:
            raise SubterraError(f"condition crewai: {self.python}: {told['problem']}")
        return told

    def forget(self, talk: str) -> None:
        """Drop what is still said of a talk."""
        self._talks.pop(talk, None)

    async def close(self) -> None:
        """End the process."""
        if self._process:
            self._process.stdin.close()
            await self._process.wait()
            if self._reading:
                await self._reading
            shutil.rmtree(self._storage, ignore_errors=True)
            self._process = self._reading = None

    async def _started(self) -> None:
        self._starting = self._starting or asyncio.Lock()
        async with self._starting:
            if self._process is None:
                await self._start()

    async def _start(self) -> None:
        self._storage = tempfile.mkdtemp(prefix="subterra-crewai-")
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        modules = str(Path(subterra.__file__).parents[1])
        places = {"PYTHONPATH": modules, "HOME": self._storage, "CREWAI_STORAGE_DIR": self._storage}
        with open(Path(self._storage) / "errors", "wb") as errors:
            self._process = await asyncio.create_subprocess_exec(
                str(self.python),
                *("-m", "subterra.conditions.crewai_worker"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                env=kept | QUIET | places,
                limit=LONGEST_LINE,
            )
        self._write(self.plan)
        if not await self._process.stdout.readline():
            problem = f"condition crewai: {self.python}: {self._last_words()}: make it anew by  make crewai"
            await self.close()
            raise SubterraError(problem)
        self._reading = asyncio.create_task(self._read())

    def _write(self, told: Mapping[str, Any]) -> None:
        self._process.stdin.write(json.dumps(told).encode() + b"\n")

    async def _read(self) -> None:
        while line := await self._process.stdout.readline():
            told = json.loads(line)
            if told["talk"] in self._talks:
                self._talks[told["talk"]].put_nowait(told)
        for talk in self._talks.values():
            talk.put_nowait({"problem": self._last_words()})

    def _last_words(self) -> str:
        file = Path(self._storage) / "errors"
        lines = file.read_text(encoding="utf-8", errors="replace").split("\n") if file.is_file() else []
        return next((line.strip() for line in reversed(lines) if line.strip()), "it ended without a word")
