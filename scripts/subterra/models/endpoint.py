"""An OpenAI-compatible endpoint, asked for one answer at a time, many at once, within the budget and the pace.

Each request is written into the ledger before it goes out, and its answer is kept before anybody looks at it.
"""

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import openai

from subterra.costs import Usage
from subterra.errors import SubterraError
from subterra.ledger import Ledger
from subterra.models.asking import Answer, Books, NoUse, ToldAlready, Unanswered
from subterra.slots import Slots
from subterra.text import digest

AGAIN = 0.05  # seconds between two looks for what another job is asking, or for room in the budget
FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0  # seconds of backoff
FILES = 8  # answers that are written to the disk at once
PATIENT = 50  # times that a request may be told it comes too fast: that costs nothing
NO_MONEY = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
ALONE = ("context_length_exceeded", "content_filter", "content_policy_violation", "string_above_max_length")


@dataclass(frozen=True)
class Failure:
    """Why a request has no answer. `after` is in how many seconds the server wants to be asked again."""

    reason: str
    lasting: bool = False  # asking anything is no use
    alone: bool = False  # asking this is no use
    billed: bool = False  # it may have been
    too_fast: bool = False
    after: float | None = None


NOT_THE_PROTOCOL = Failure("the endpoint does not answer as the protocol says", billed=True)


class Clerk:
    """Writes into the ledger beside the loop: what waits while it writes goes to the disk together."""

    def __init__(self, ledger: Ledger):
        self.ledger = ledger
        self._waiting: list[tuple[Callable, tuple, asyncio.Future]] = []
        self._writing: asyncio.Task | None = None
        self._desk = ThreadPoolExecutor(1)

    async def write(self, work: Callable, *values: Any) -> Any:
        """Return what a method of the ledger returns for these values, once that is on the disk."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((work, values, future))
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write_all())
        return await future

    async def _write_all(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                found = await asyncio.get_running_loop().run_in_executor(self._desk, self._together, batch)
            except Exception as problem:  # the disk is full, or the like: nobody may wait for ever
                found = [(None, problem)] * len(batch)
            for (*_, future), (result, problem) in zip(batch, found, strict=True):
                if not future.done() and problem is not None:
                    future.set_exception(problem)
                elif not future.done():
                    future.set_result(result)
        self._writing = None

    def _together(self, batch: list[tuple]) -> list[tuple]:
        found = []
        with self.ledger.together():
            for work, values, _ in batch:
                try:
                    found.append((work(*values), None))
                except SubterraError as problem:
                    found.append((None, problem))
        return found

    def close(self) -> None:
        """Let go of the thread."""
        self._desk.shutdown()


class Endpoint:
    """Answers requests over HTTP (see asking.Asker), as an asynchronous context."""

    def __init__(self, books: Books):
        self.books, self.model = books, books.model
        folder = books.cache.folder / "slots" / digest(self.model.base_url, 8)
        self.slots = Slots(folder, self.model.concurrency)
        self._client: openai.AsyncOpenAI | None = None
        self._no_use = False
        self._clerk = Clerk(books.ledger)
        self._shelves = ThreadPoolExecutor(FILES)

    async def __aenter__(self) -> "Endpoint":
        return self

    async def __aexit__(self, *_exception) -> None:
        if self._client:
            await self._client.close()
        self._clerk.close()
        self._shelves.shutdown()

    async def ask(self, messages: Sequence[Mapping], salt: str, purpose: str, as_json: bool = False) -> Answer:
        """Return the answer to messages, from the cache where it is there."""
        body = self.model.body(messages, as_json)
        key = self.model.key(body, salt)
        failures = too_fast = 0
        while True:
            found = await self._asked(key, body, purpose)
            if isinstance(found, Answer):
                return found
            if found.lasting:
                raise await self._halt(found.reason)
            failures, too_fast = failures + (not found.too_fast), too_fast + found.too_fast
            if found.alone or failures >= self.model.tries or too_fast >= PATIENT:
                raise Unanswered(found.reason)
            await asyncio.sleep(backoff(failures + too_fast) if found.after is None else found.after)

    async def _asked(self, key: str, body: Mapping, purpose: str) -> Answer | Failure:
        """Return the kept answer, or send the request once."""
        if kept := self.books.kept(key):
            return kept
        ledger = self.books.ledger
        try:
            client = self._connected()
        except NoUse as reason:
            raise await self._halt(str(reason)) from None
        async with self.slots:
            await asyncio.sleep(max(0.0, await self._turn() - time.time()))
            if self._no_use or ledger.halted(self.model.endpoint):
                raise ToldAlready
            most = self.books.at_most(body)
            while (row := await self._clerk.write(ledger.reserve, key, purpose, self.model.name, most)) is None:
                await asyncio.sleep(AGAIN)
            if kept := self.books.kept(key):  # another job has just asked the same
                await self._clerk.write(ledger.settle, row, "failed", Usage(), 0.0, "another job has asked it")
                return kept
            began = time.perf_counter()
            found = await self._sent(client, body)
            seconds = time.perf_counter() - began
            self._no_use |= isinstance(found, Failure) and found.lasting
        if not isinstance(found, Failure):  # the slot is free: nobody waits for the disk
            try:
                return await self._entered(key, row, found, seconds=seconds)
            except (KeyError, IndexError, TypeError, ValueError, AttributeError):
                found = NOT_THE_PROTOCOL
        state = "lost" if found.billed else "failed"
        await self._clerk.write(ledger.settle, row, state, Usage(), 0.0, found.reason)
        if found.too_fast:
            await self._clerk.write(ledger.pause, found.after or FIRST_WAIT)
        return found

    async def _turn(self) -> float:
        """Return when the rate limit lets the next request go out."""
        ledger = self.books.ledger
        return await self._clerk.write(ledger.turn) if ledger.pace else ledger.turn()

    async def _sent(self, client: openai.AsyncOpenAI, body: Mapping) -> Mapping | Failure:
        """Send a request; return the completion as the protocol has it."""
        try:
            completion = await client.chat.completions.create(**body)
            return completion.model_dump()
        except openai.OpenAIError as problem:
            return self._failure(problem)
        except (TypeError, ValueError, AttributeError):
            return NOT_THE_PROTOCOL

    async def _entered(
        self, key: str, row: int, completion: Mapping, in_batch: bool = False, seconds: float = 0.0
    ) -> Answer:
        """Keep the answer of a completion, then settle what it cost."""
        loop = asyncio.get_running_loop()
        answer = await loop.run_in_executor(self._shelves, self.books.keep, key, completion, in_batch, seconds)
        await self._clerk.write(self.books.ledger.settle, row, "answered", answer.usage, answer.dollars)
        return answer

    async def _halt(self, reason: str) -> NoUse:
        """Tell the other jobs, and return what to raise: the whole reason in the first of them alone."""
        first = await self._clerk.write(self.books.ledger.halt, self.model.endpoint, reason)
        return NoUse(reason) if first else ToldAlready()

    def _connected(self) -> openai.AsyncOpenAI:
        if self._client is None:
            self._client = openai.AsyncOpenAI(
                api_key=self.model.api_key(), base_url=self.model.base_url, timeout=self.model.timeout, max_retries=0
            )
        return self._client

    def _failure(self, problem: openai.OpenAIError) -> Failure:
        """Return what an error means. What a server says is shown without the key, and only where it helps."""
        model, place = self.model, f"{self.model.section}: {self.model.base_url}"
        if isinstance(problem, openai.APITimeoutError):
            return Failure(f"no answer within {model.timeout:g} seconds", billed=True)
        if isinstance(problem, openai.APIConnectionError):
            refused = "connect" in type(problem.__cause__).__name__.lower()
            return Failure(
                f"{model.base_url}: the connection {'is refused' if refused else 'broke'}", billed=not refused
            )
        if not isinstance(problem, openai.APIStatusError):
            return NOT_THE_PROTOCOL
        status, code = problem.status_code, str(getattr(problem, "code", "") or "")
        told = problem.body.get("message") if isinstance(problem.body, Mapping) else None
        said = " ".join(str(told or problem.message).split()).replace(model.api_key(), "***")[:200]
        if status in (401, 403):
            none = f"(none: {model.section}.api_key_env is empty)"
            where = f"in {model.api_key_env}" if model.api_key_env else none
            return Failure(f"{place} does not take the key {where}: status {status}", lasting=True)
        if status == 404:
            return Failure(
                f"{model.section}.model: '{model.name}': {model.base_url} has no such model, or is no such address",
                lasting=True,
            )
        if status == 402 or code in NO_MONEY:
            return Failure(f"{place}: the account has no money left: {said}", lasting=True)
        if status == 429:
            return Failure("too many requests", too_fast=True, after=_seconds(problem.response.headers))
        if status in (408, 409) or status >= 500:
            return Failure(f"the endpoint fails with status {status}", after=_seconds(problem.response.headers))
        if code in ALONE:
            return Failure(f"the endpoint refuses this conversation: {code}", alone=True)
        return Failure(f"{place} refuses the request with status {status}: {said}", lasting=True)


def backoff(failures: int) -> float:
    """Return the seconds to wait after so many failures in a row: doubled each time, by lot between half and whole."""
    return min(LONGEST_WAIT, FIRST_WAIT * 2 ** (failures - 1)) * random.uniform(0.5, 1)


def _seconds(headers: Mapping[str, str]) -> float | None:
    """Return what a server asks for in Retry-After: seconds, or a date."""
    from email.utils import parsedate_to_datetime

    told = headers.get("retry-after", "")
    try:
        return min(max(0.0, float(told)), 10 * LONGEST_WAIT)
    except ValueError:
        pass
    try:
        return min(max(0.0, parsedate_to_datetime(told).timestamp() - time.time()), 10 * LONGEST_WAIT)
    except ValueError:
        return None
