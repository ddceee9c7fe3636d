"""One-line mistakes: what a user did, where, with which value, and the way out."""

import contextlib
import difflib
import json
import sys
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

LONGEST_SHOWN = 60


class SubterraError(Exception):
    """A mistake that the user can mend, told in one line."""


class SpecError(SubterraError):
    """Everything that is wrong with one spec, a line each."""

    def __init__(self, lines: Iterable[str]):
        self.lines = tuple(lines)
        super().__init__(self.lines)

    def __str__(self) -> str:
        return "\n".join(self.lines)


def closest(value: str, known: Iterable[str]) -> str | None:
    """Return the known name that comes nearest, large and small letters aside, or None where none comes near.

    >>> closest("Refnd", ["refund", "status"])
    'refund'
    """
    names = {str(name).casefold(): str(name) for name in known}
    found = difflib.get_close_matches(str(value).casefold(), names, n=1)
    return names[found[0]] if found else None


def nearest(value: str, known: Iterable[str]) -> str:
    """Return " (did you mean 'x'?)", or "" where nothing known comes near.

    >>> nearest("refnd", ["refund", "status"])
    " (did you mean 'refund'?)"
    """
    found = closest(value, known)
    return f" (did you mean '{found}'?)" if found else ""


def shown(value: Any) -> str:
    """Return a value as a message shows it: on one line, and cut where it is long.

    >>> shown("two\\nlines"), shown(["a", "b"])
    ('two lines', '["a", "b"]')
    """
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = " ".join(text[: 10 * LONGEST_SHOWN].split())
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"


def printable(text: str) -> str:
    """Return a text with its unprintable characters escaped, so that it is one line on any terminal.

    >>> printable("a\\nb")
    'a\\\\nb'
    """
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


@contextlib.contextmanager
def one_line(log: str | Path | None = None) -> Iterator[None]:
    """End the process with status 1 and the message alone where the user made the mistake.

    Anything else keeps its traceback: that one is ours. With `log`, all that is printed goes there too.
    """
    with contextlib.ExitStack() as stack:
        if log:
            stack.enter_context(_copied_to(Path(log)))
        try:
            yield
        except SubterraError as mistake:
            print(mistake, file=sys.stderr)
            sys.exit(1)


class _Tee:
    """A stream that writes to several; the first one answers questions such as isatty()."""

    def __init__(self, *streams):
        self.streams = streams

    def write(self, text: str) -> int:
        for stream in self.streams:
            stream.write(text)
            stream.flush()
        return len(text)

    def __getattr__(self, name: str):
        return getattr(self.streams[0], name)


@contextlib.contextmanager
def _copied_to(log: Path) -> Iterator[None]:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as file, contextlib.redirect_stderr(_Tee(sys.stderr, file)):
        try:
            yield
        except SubterraError:
            raise
        except Exception:
            traceback.print_exc(file=file)
            raise
