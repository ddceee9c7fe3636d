"""Requests by the file: the batch interface, at half the price, where an answer may take a day.

Requests are gathered until every conversation waits for one, then they go out as one batch. What was sent is written
down beside the cache, so that a run that was stopped collects its batch instead of paying for another.
"""

import asyncio
import io
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import openai

from subterra.costs import Usage
from subterra.ledger import BudgetReached
from subterra.models.asking import Answer, Books, NoUse, Unanswered
from subterra.models.endpoint import Endpoint
from subterra.text import digest, pretty, write_whole

ENDPOINT = "/v1/chat/completions"
WITHIN = "24h"
OVER = ("completed", "failed", "expired", "cancelled")
NAME = "subterra"  # of the batch, among the account's others


class Batch(Endpoint):
    """Answers requests in batches (see asking.Asker). `expect` says how many conversations will ask."""

    def __init__(self, books: Books):
        super().__init__(books)
        self.folder = books.cache.folder / "batches"
        self._working = 0
        self._waiting: dict[str, tuple[dict, str, asyncio.Future]] = {}
        self._sending: asyncio.Task | None = None

    def expect(self, conversations: int) -> None:
        """Say that so many conversations are being written."""
        self._working += conversations
        self._send_when_all_wait()

    async def ask(self, messages: Sequence[Mapping], salt: str, purpose: str, as_json: bool = False) -> Answer:
        """Return the answer to messages, from the cache or out of a batch."""
        body = self.model.body(messages, as_json)
        key = self.model.key(body, salt)
        for _ in range(self.model.tries):
            if kept := self.books.kept(key):
                return kept
            future = asyncio.get_running_loop().create_future()
            self._waiting[key] = (body, purpose, future)
            self._send_when_all_wait()
            reason = await future
        if kept := self.books.kept(key):
            return kept
        raise Unanswered(reason)

    def _send_when_all_wait(self) -> None:
        if self._waiting and len(self._waiting) >= self._working and not self._sending:
            self._sending = asyncio.get_running_loop().create_task(self._send())

    async def _send(self) -> None:
        """Send what waits, or collect what was sent before, and let everybody go on."""
        waiting, self._waiting = self._waiting, {}
        try:
            reasons = await self._answered(waiting)
        except Exception as problem:
            for *_, future in waiting.values():
                future.set_exception(problem)
        else:
            for key, (*_, future) in waiting.items():
                future.set_result(reasons.get(key, "the batch has no answer to it"))
        finally:
            self._sending = None
            self._send_when_all_wait()

    async def _answered(self, waiting: Mapping[str, tuple]) -> dict[str, str]:
        """Have the requests answered, and return for those that were not, why."""
        reasons: dict[str, str] = {}
        try:
            for file in self._sent_before(waiting):
                reasons |= await self._collect(file)
            new = {key: body for key, (body, *_) in waiting.items() if key not in reasons and not self.books.kept(key)}
            if new:
                reasons |= await self._collect(await self._submit(new, {key: waiting[key][1] for key in new}))
        except openai.OpenAIError as problem:
            failure = self._failure(problem)
            raise (await self._halt(failure.reason) if failure.lasting else NoUse(failure.reason)) from None
        return reasons

    def _sent_before(self, waiting: Mapping[str, tuple]) -> list[Path]:
        """Return the files of batches that hold any of these requests."""
        found = []
        for file in sorted(self.folder.glob("*.json")):
            with suppress(FileNotFoundError):  # another job's batch, which it has just collected
                if json.loads(file.read_text())["rows"].keys() & waiting.keys():
                    found.append(file)
        return found

    async def _submit(self, bodies: Mapping[str, dict], purposes: Mapping[str, str]) -> Path:
        """Send a batch of new requests; return the file that says so."""
        rows: dict[str, int] = {}
        for key, body in bodies.items():
            most = self.books.at_most(body, in_batch=True)
            row = await self._clerk.write(self.books.ledger.reserve, key, purposes[key], self.model.name, most)
            if row is None:
                await self._give_up(rows, "was never sent")
                raise BudgetReached(
                    f"teacher.budget: ${self.books.ledger.budget:g}: {len(bodies):,} requests in a batch may cost more "
                    "than is left: raise the budget, or ask for fewer conversations; nothing was sent"
                )
            rows[key] = row
        name = digest(sorted(bodies))
        file = self.folder / f"{name}.json"
        told = {"rows": rows, "batch": None, "endpoint": self.model.endpoint}
        write_whole(file, pretty(told))
        client = self._connected()
        lines = [{"custom_id": key, "method": "POST", "url": ENDPOINT, "body": body} for key, body in bodies.items()]
        content = io.BytesIO("".join(json.dumps(line) + "\n" for line in lines).encode())
        sent = await client.files.create(file=(f"{name}.jsonl", content), purpose="batch")
        batch = await client.batches.create(
            input_file_id=sent.id, endpoint=ENDPOINT, completion_window=WITHIN, metadata={NAME: name}
        )
        write_whole(file, pretty(told | {"batch": batch.id}))
        print(f"batch {batch.id}: {len(bodies):,} requests sent", file=sys.stderr, flush=True)
        return file

    async def _collect(self, file: Path) -> dict[str, str]:
        """Wait for a batch, keep its answers, and return why the others have none. The file goes last of all."""
        told = json.loads(file.read_text())
        client = self._connected()
        name = told["batch"] or await self._found(file.stem)
        if name is None:  # killed before it was sent
            await self._give_up(told["rows"], "was never sent")
            file.unlink()
            return {}
        while (batch := await client.batches.retrieve(name)).status not in OVER:
            counts = batch.request_counts
            done = f", {counts.completed:,} of {counts.total:,} answered" if counts else ""
            print(f"batch {name}: {batch.status}{done}", file=sys.stderr, flush=True)
            await asyncio.sleep(self.model.batch_poll)
        reasons, open_rows = {}, dict(told["rows"])
        for answers in filter(None, (batch.output_file_id, batch.error_file_id)):
            for line in filter(None, (await client.files.content(answers)).text.split("\n")):
                entry = json.loads(line)
                key, row = entry["custom_id"], open_rows.pop(entry["custom_id"], None)
                if row is not None and (reason := await self._taken(key, row, entry)):
                    reasons[key] = reason
        await self._give_up(open_rows, f"the batch is {batch.status}")
        file.unlink()
        return reasons | dict.fromkeys(open_rows, f"the batch is {batch.status}")

    async def _taken(self, key: str, row: int, entry: Mapping) -> str:
        """Enter one line of a batch's answers; return why it is none, or ""."""
        answer = entry.get("response") or {}
        if answer.get("status_code") == 200:
            try:
                await self._entered(key, row, answer["body"], in_batch=True)
                return ""
            except (KeyError, IndexError, TypeError):
                pass
        reason = f"the batch answers with status {answer.get('status_code')}"
        await self._give_up({key: row}, reason)
        return reason

    async def _give_up(self, rows: Mapping[str, int], reason: str) -> None:
        for row in rows.values():
            await self._clerk.write(self.books.ledger.settle, row, "failed", Usage(), 0.0, reason)

    async def _found(self, name: str) -> str | None:
        """Return the id of a batch that was sent by a run that was killed at that moment."""
        async for batch in await self._connected().batches.list(limit=100):
            if (batch.metadata or {}).get(NAME) == name:
                return batch.id
        return None
