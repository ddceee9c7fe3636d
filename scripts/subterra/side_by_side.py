"""Many pieces of work that wait for models go on at once, and what stops one for good stops the rest."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from subterra.errors import SubterraError
from subterra.models.asking import ToldAlready
from subterra.progress import track

T = TypeVar("T")


async def side_by_side(work: Sequence[Callable[[], Awaitable[T]]], parallel: int, label: str) -> list[T]:
    """Return what each piece of work returns, in their order; at most `parallel` go on at once.

    A SubterraError lets nothing new begin. What is on its way is waited for: it is paid for, and kept by whoever asks.
    Then the reason is raised, rather than that another job has told it.
    """
    free = asyncio.Semaphore(parallel)
    stopped: list[SubterraError] = []

    async def done(one: Callable[[], Awaitable[T]]) -> T | None:
        async with free:
            if stopped:
                return None
            try:
                return await one()
            except SubterraError as reason:
                stopped.append(reason)
                return None

    tasks = [asyncio.create_task(done(one)) for one in work]
    for task in track(asyncio.as_completed(tasks), len(tasks), label):
        await task
    if stopped:
        raise next((reason for reason in stopped if not isinstance(reason, ToldAlready)), stopped[0])
    return [task.result() for task in tasks]
