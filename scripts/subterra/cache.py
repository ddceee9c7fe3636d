"""Answers that were paid for: content-addressed, one file an answer, kept the moment it is there.

An entry is written whole (beside, to the disk, renamed) and checked when it is read, so that many jobs may share the
folder and a kill loses at most what was in flight. Every question that is really asked leaves a line in the ledger
first.
"""

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from subterra.text import canonical, digest, write_whole


class Cache:
    """A folder of answers by key (hexadecimal digits). `asked` and `cached` count what this object was asked for.

    Answers that are not `paid` for are not forced to the disk one by one, which is most of the time they take.
    """

    def __init__(self, folder: str | Path, paid: bool = True):
        self.folder, self.paid = Path(folder), paid
        self.asked = 0
        self.cached = 0
        self._ledger: int | None = None

    def answer(self, key: str, ask: Callable[[], Any]) -> Any:
        """Return the kept answer, or ask for it and keep it. Answers are what JSON holds."""
        found = self.get(key)
        if found is not None:
            self.cached += 1
            return found
        self._note(key)
        self.asked += 1
        answer = ask()
        self.keep(key, answer)
        return answer

    def keep(self, key: str, answer: Any) -> None:
        """Keep an answer."""
        entry = canonical({"key": key, "digest": digest(answer), "answer": answer})
        write_whole(self._file(key), entry, to_disk=self.paid)

    def get(self, key: str) -> Any | None:
        """Return a kept answer; None where there is none, or where the entry is torn or was tampered with."""
        try:
            entry = json.loads(self._file(key).read_bytes())
            whole = entry["key"] == key and entry["digest"] == digest(entry["answer"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return entry["answer"] if whole else None

    def _file(self, key: str) -> Path:
        return self.folder / "answers" / key[:2] / f"{key}.json"

    def _note(self, key: str) -> None:
        """Append the key to this process's own ledger file (appends of several hosts to one file may mix)."""
        if self._ledger is None:
            place = self.folder / "ledger" / f"{socket.gethostname()}-{os.getpid()}.txt"
            place.parent.mkdir(parents=True, exist_ok=True)
            self._ledger = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.write(self._ledger, f"{key}\n".encode())

    def close(self) -> None:
        """Close the ledger."""
        if self._ledger is not None:
            os.close(self._ledger)
            self._ledger = None

    def __enter__(self) -> "Cache":
        return self

    def __exit__(self, *_exception) -> None:
        self.close()


def times_asked(folder: str | Path) -> dict[str, int]:
    """Return how often each key was asked, over all ledgers of a cache folder."""
    counts: dict[str, int] = {}
    for ledger in sorted((Path(folder) / "ledger").glob("*.txt")):
        for key in ledger.read_text().split():
            counts[key] = counts.get(key, 0) + 1
    return counts
