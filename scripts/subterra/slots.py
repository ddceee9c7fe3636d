"""How many requests are in flight at once, over all jobs that share a folder: one locked file a request.

The system gives a lock back however its job ends, so nothing has to be cleared away after a kill.
"""

import asyncio
import fcntl
import os
import random
from contextlib import suppress
from pathlib import Path

WAIT = 0.02  # seconds between two looks for a slot that another job holds


class Slots:
    """Slots 0 to `number` - 1 of a folder, as an asynchronous context: `async with slots: ...`."""

    def __init__(self, folder: str | Path, number: int):
        self.folder, self.number = Path(folder), number
        self.folder.mkdir(parents=True, exist_ok=True)
        self._used: list[int] = []
        self._spare: list[int] = []  # held on for somebody here who waits
        self._freed = asyncio.Event()
        self._looking = asyncio.Lock()

    async def __aenter__(self) -> None:
        async with self._looking:  # one looks, the others wait behind
            while (slot := self._spare.pop() if self._spare else self._take()) is None:
                self._freed.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._freed.wait(), WAIT)
        self._used.append(slot)

    async def __aexit__(self, *_exception) -> None:
        slot = self._used.pop()
        if self._looking.locked():
            self._spare.append(slot)
            self._freed.set()
        else:
            os.close(slot)

    def _take(self) -> int | None:
        """Lock a free slot's file and return its handle; None where all are taken."""
        first = random.randrange(self.number)
        for number in (*range(first, self.number), *range(first)):
            handle = os.open(self.folder / str(number), os.O_WRONLY | os.O_CREAT, 0o644)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
            else:
                return handle
        return None
