"""Long work shows how far it is: a bar on a terminal, one line a minute in a log."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TextIO, TypeVar

Item = TypeVar("Item")
EVERY = 60.0


def track(
    items: Iterable[Item],
    total: int,
    label: str,
    *,
    stream: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Item]:
    """Yield the items and tell on `stream` (stderr) how many are through, the rate and the time left."""
    stream = stream or sys.stderr
    return _bar(items, total, label, stream) if stream.isatty() else _lines(items, total, label, stream, clock)


def line(label: str, done: int, total: int, seconds: float) -> str:
    """Return one progress line.

    >>> line("dialogues", 30, 120, 60.0)
    'dialogues: 30 of 120 (25 %), 0.5/s, 3 min 0 s left'
    """
    rate = done / seconds if seconds > 0 else 0.0
    left = f", {duration((total - done) / rate)} left" if rate and done < total else ""
    share = f" ({100 * done // total} %)" if total else ""
    return f"{label}: {done:,} of {total:,}{share}, {rate:.3g}/s{left}"


def duration(seconds: float) -> str:
    """Return a time for people.

    >>> duration(12.3), duration(192), duration(7300)
    ('12 s', '3 min 12 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _lines(items: Iterable[Item], total: int, label: str, stream: TextIO, clock: Callable[[], float]) -> Iterator[Item]:
    began = told = clock()
    done = 0
    for item in items:
        yield item
        done += 1
        if done < total and clock() - told >= EVERY:
            told = clock()
            print(line(label, done, total, told - began), file=stream, flush=True)
    print(
        f"{line(label, done, total, clock() - began)}, took {duration(clock() - began)}",
        file=stream,
        flush=True,
    )


def _bar(items: Iterable[Item], total: int, label: str, stream: TextIO) -> Iterator[Item]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(file=stream)) as progress:
        task = progress.add_task(label, total=total, rate="")
        began = time.monotonic()
        for done, item in enumerate(items, 1):
            yield item
            progress.update(task, completed=done, rate=f"{done / (time.monotonic() - began):.3g}/s")
