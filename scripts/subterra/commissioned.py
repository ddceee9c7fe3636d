"""A shard that a model writes: its conversations side by side, the quality gate, and what it all came to.

A conversation that does not fit after all tries is left out and counted; too many of them stop the build. Whatever
stops it, what was answered is kept, and requests that are on their way are waited for.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from subterra.conversation import laid_out, row
from subterra.errors import SubterraError
from subterra.models.asking import Model, Stopping, Unanswered, books
from subterra.models.batch import Batch
from subterra.models.endpoint import Endpoint
from subterra.progress import track
from subterra.quality import NEAR_DUPLICATE, Conversations, too_many
from subterra.teacher import ModelTeacher, Unfit, Writing

TWIN_SHOWN = 3  # turns of the conversation that a new one has to differ from
FEW = 1  # conversations of a shard that may be left out whatever the share


def commission(work: Mapping, cache_folder: str | Path, settings: Mapping[str, Any]) -> tuple[list[dict], dict]:
    """Have the conversations of a shard written; return (rows, what the teacher did), as converse.write_shard does.

    Raises NoUse, BudgetReached, or SubterraError where more than the share `max_failures` had to be left out.
    """
    model = Model.of(settings)
    with books(model, cache_folder, settings["budget"], settings["requests_a_minute"]) as opened:
        shard = asyncio.run(_written(work, Batch(opened) if settings["batch"] else Endpoint(opened), settings))
    return shard.rows(), {"backend": settings["backend"], "model": model.name, **shard.told()}


async def _written(work: Mapping, asker: Endpoint, settings: Mapping[str, Any]) -> "_Shard":
    async with asker:
        shard = _Shard(work, asker, settings)
        await shard.write({talk["id"]: "" for talk in work["conversations"]})
        await shard.write(shard.twins())
        for name in shard.twins():
            shard.drop(name, NEAR_DUPLICATE)
    return shard


class _Shard:
    """The conversations of a shard on their way."""

    def __init__(self, work: Mapping, asker: Endpoint, settings: Mapping[str, Any]):
        self.work, self.settings = work, settings
        self.batch = asker if isinstance(asker, Batch) else None
        self.asker = Stopping(asker)
        ids = {step["node"] for step in work["steps"].values()}
        self.teacher = ModelTeacher(work["teacher"], self.asker, work["system"], work["facts"], ids)
        self.talks = {talk["id"]: talk for talk in work["conversations"]}
        self.done: dict[str, Writing] = {}
        self.all: list[Writing] = []
        self.dropped: Counter = Counter()

    async def write(self, talks: Mapping[str, str]) -> None:
        """Write conversations by id, each unlike the text that is given with it ("" for none)."""
        if not talks:
            return
        if self.batch:
            self.batch.expect(len(talks))
        # Twice as many as may ask at once: while some wait for the disk, others ask.
        free = asyncio.Semaphore(len(talks) if self.batch else 2 * self.settings["concurrency"])
        tasks = [asyncio.create_task(self._write(name, twin, free)) for name, twin in talks.items()]
        for task in track(asyncio.as_completed(tasks), len(tasks), f"{self.work['agent']} shard {self.work['shard']}"):
            await task
        if self.asker.reason:
            raise self.asker.reason

    async def _write(self, name: str, twin: str, free: asyncio.Semaphore) -> None:
        steps, values, seed = laid_out(self.talks[name], self.work)
        writing = self.teacher.begin(f"{self.work['agent']} {name}", steps, values, seed, twin)
        async with free:
            try:
                if self.asker.reason:
                    return
                self.all.append(writing)
                await self.teacher.write(writing)
            except Unfit as reason:
                self.drop(name, str(reason))
            except Unanswered as reason:
                self.drop(name, f"no answer: {reason}")
            except SubterraError as reason:  # `write` tells it once, when all that was on its way is there
                self.asker.reason = self.asker.reason or reason
            else:
                self.done[name] = writing
            finally:
                if self.batch:
                    self.batch.expect(-1)

    def drop(self, name: str, reason: str) -> None:
        """Leave a conversation out; stop where too many were."""
        self.done.pop(name, None)
        self.dropped[reason] += 1
        share = self.settings["max_failures"]
        if self.dropped.total() > max(FEW, share * len(self.talks)):
            where = f"{self.work['agent']} shard {self.work['shard']}: "
            line = too_many(self.dropped, len(self.talks), share, where)
            self.asker.reason = self.asker.reason or SubterraError(line)

    def twins(self) -> dict[str, str]:
        """Return the conversations that nearly repeat an earlier one, with the beginning of that one."""
        seen, found = Conversations(), {}
        for name in sorted(self.done):
            texts, values = list(self.done[name].texts.values()), self.talks[name]["values"]
            if twin := seen.meet(name, texts, values):
                found[name] = " / ".join(list(self.done[twin].texts.values())[:TWIN_SHOWN])
        return found

    def rows(self) -> list[dict]:
        """Return the rows of what is kept, in the order of the shard's work."""
        found = []
        for name, talk in self.talks.items():
            if name in self.done:
                steps, values, _ = laid_out(talk, self.work)
                found.append(row(talk, steps, self.done[name].lines(len(steps)), values))
        return found

    def told(self) -> dict:
        """Return what was asked and what came of it: see converse.write_shard."""
        answers = [answer for writing in self.all for answer in writing.answers]
        faults = sum((writing.faults for writing in self.all), Counter())
        return {
            "calls": len(answers),
            "cached": sum(answer.cached for answer in answers),
            "tokens_in": sum(answer.usage.tokens_in for answer in answers),
            "tokens_cached": sum(answer.usage.tokens_cached for answer in answers),
            "tokens_out": sum(answer.usage.tokens_out for answer in answers),
            "dollars": sum(answer.dollars for answer in answers),
            "funnel": {
                "asked": len(self.talks),
                "mended": sum(bool(self.done[name].faults) for name in self.done),
                "kept": len(self.done),
                "dropped": dict(sorted(self.dropped.items())),
                "faults": dict(sorted(faults.items())),
            },
        }
