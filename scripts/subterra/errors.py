"""One-line mistakes: what a user did, where, with which value, and the way out."""

import contextlib
import difflib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path


class SubterraError(Exception):
    """A mistake that the user can mend, told in one line."""


class SpecError(SubterraError):
    """Everything that is wrong with one spec, a line each."""

    def __init__(self, lines: Iterable[str]):
        self.lines = tuple(lines)
        super().__init__("\n".join(self.lines))


def nearest(value: str, known: Iterable[str]) -> str:
    """Return " (did you mean 'x'?)", or "" where nothing known comes near.

    >>> nearest("refnd", ["refund", "status"])
    " (did you mean 'refund'?)"
    """
    found = difflib.get_close_matches(str(value), [str(name) for name in known], n=1)
    return f" (did you mean '{found[0]}'?)" if found else ""


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
            import traceback

            traceback.print_exc(file=file)
            raise
