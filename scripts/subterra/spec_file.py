"""Reading a spec as plain data: every scalar stays a string, every place knows its line, nothing is executed.

YAML's habit of turning `yes`, `no` and `1` into other things is left out on purpose: a node's id is what was
written. Data is built from the parser's events, so neither an alias nor deep nesting costs anything.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import yaml

from subterra.errors import SpecError, printable, shown

AGENT_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")
DEEPEST = 16
UNPRINTABLE = re.compile(r"[^\t\n\r -~\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)

Place = tuple[str | int, ...]


@dataclass
class SpecFile:
    """A spec as it was written: the data, the line of every place, and the mistakes found so far."""

    path: Path
    data: dict[str, Any] = field(default_factory=dict)
    lines: dict[Place, int] = field(default_factory=dict)
    mistakes: list[tuple[int, Place, str]] = field(default_factory=list)

    def mistake(self, place: Place, message: str, line: int | None = None) -> None:
        """Note one mistake at a place such as ("nodes", "greet", "next", 0), which need not be written."""
        if line is None:
            line = next((self.lines[place[:n]] for n in range(len(place), -1, -1) if place[:n] in self.lines), 1)
        where = f"{dotted(place)}: " if place else ""
        self.mistakes.append((line, place, printable(f"{self.path}:{line}: {where}{message}")))

    def raise_mistakes(self) -> None:
        """Raise all mistakes at once, in the order of the file; do nothing if there are none."""
        if self.mistakes:
            raise self.error()

    def error(self) -> SpecError:
        """Return the error that holds the mistakes noted so far, in the order of the file."""
        in_order = sorted(self.mistakes, key=lambda mistake: mistake[0])
        return SpecError(dict.fromkeys(text for _, _, text in in_order))

    def marred(self) -> set[Place]:
        """Return every place with a mistake at it or inside it."""
        return {place[:n] for _, place, _ in self.mistakes for n in range(len(place) + 1)}


def dotted(place: Place) -> str:
    """Write a place as people write it.

    >>> dotted(("nodes", "greet", "next", 0, "to"))
    'nodes.greet.next[0].to'
    """
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{shown(part)}" for part in place)
    return text.removeprefix(".")


def read_spec_file(path: str | Path) -> SpecFile:
    """Read a spec. Raises SpecError where it is no YAML mapping; smaller mistakes are noted in the result."""
    spec = SpecFile(Path(path))
    _check_name(spec)
    text = _read_text(spec.path)
    try:
        _Builder(spec, text).document()
    except yaml.YAMLError as error:
        raise _not_yaml(spec.path, error) from None
    return spec


def _check_name(spec: SpecFile) -> None:
    if AGENT_NAME.match(spec.path.stem) and spec.path.suffix == ".yaml":
        return
    better = re.sub(r"[^a-z0-9_]+", "_", spec.path.stem.lower()).lstrip("0123456789_") or "agent"
    spec.mistake(
        (),
        f"'{shown(spec.path.name)}' is no agent's name: small letters, digits and _, then .yaml, such as {better}.yaml",
    )


def _read_text(path: Path) -> str:
    """Return the text of the file; raise the one line that says why it cannot be read."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise _broken(path, "no such file: write it, or take its name out of `agents` in the config") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise _broken(path, f"cannot be read ({reason}): check the path and who may read it") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"not UTF-8: byte 0x{data[error.start]:02x} at {error.start}: save the file as UTF-8"
        raise _broken(f"{path}:{line}", message) from None
    if bad := UNPRINTABLE.search(text):
        line, column = text.count("\n", 0, bad.start()) + 1, bad.start() - text.rfind("\n", 0, bad.start())
        message = f"not YAML: unprintable character {bad.group()!r}: take it out"
        raise _broken(f"{path}:{line}:{column}", message)
    return text


def _not_yaml(path: Path, error: yaml.YAMLError) -> SpecError:
    """Say where a mistake of YAML was noticed, what the parser was about, and a way out."""
    mark, begun = getattr(error, "problem_mark", None), getattr(error, "context_mark", None)
    place = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else path
    context = getattr(error, "context", None)
    since = f" {context} begun on line {begun.line + 1}," if context and begun else ""
    problem = shown(str(getattr(error, "problem", None) or error))
    return _broken(place, f"not YAML:{since} {problem}: check the indentation, quotes and colons there")


def _broken(place: str | Path, message: str) -> SpecError:
    return SpecError([printable(f"{place}: {message}")])


class _Builder:
    """Turns the events of a YAML parser into plain data, noting lines and duplicate keys."""

    def __init__(self, spec: SpecFile, text: str):
        self.spec = spec
        self.events: Iterator[yaml.Event] = yaml.parse(text, Loader=_LOADER)

    def document(self) -> None:
        """Read the one document into `spec.data`; raise what is no mapping."""
        next(self.events)  # the stream begins
        if isinstance(next(self.events), yaml.StreamEndEvent):
            self.stop(1, "the file is empty: a spec needs title, system, start and nodes")
        event = next(self.events)
        data = self.value(event, ())
        next(self.events)  # the document ends
        after = next(self.events)
        if not isinstance(after, yaml.StreamEndEvent):
            self.stop(_line(after), "a second document (---): a spec is one, so take the line or the rest out")
        if not isinstance(data, dict):
            self.stop(_line(event), f"'{shown(data)}': a spec is a mapping of title, system, start and nodes")
        self.spec.data = data

    def value(self, event: yaml.Event, place: Place) -> Any:
        self.spec.lines.setdefault(place, _line(event))
        if len(place) > DEEPEST:
            self.stop(_line(event), "nested too deeply: a spec needs six levels, so close the brackets before")
        if isinstance(event, yaml.AliasEvent):
            self.stop(_line(event), f"*{event.anchor}: aliases are not read here: write the text out")
        if event.tag:
            self.spec.mistake(place, f"{shown(event.tag)}: tags (!) are not read here: take it out")
        if isinstance(event, yaml.ScalarEvent):
            return self.scalar(event, place)
        return self.sequence(place) if isinstance(event, yaml.SequenceStartEvent) else self.mapping(place)

    def scalar(self, event: yaml.ScalarEvent, place: Place) -> str:
        bad = UNPRINTABLE.search(event.value)
        if bad:
            self.spec.mistake(place, f"unprintable character {bad.group()!r}: take it out")
        return event.value

    def sequence(self, place: Place) -> list[Any]:
        data: list[Any] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            data.append(self.value(event, (*place, len(data))))
        return data

    def mapping(self, place: Place) -> dict[str, Any]:
        data: dict[str, Any] = {}
        while not isinstance(key := next(self.events), yaml.MappingEndEvent):
            if not isinstance(key, yaml.ScalarEvent):
                self.spec.mistake(place, "a list or mapping as a key: a key has to be a word", _line(key))
                self.skip(key)
                self.skip(next(self.events))
                continue
            name = self.scalar(key, place)
            inner = (*place, name)
            if name in data:
                first = self.spec.lines[inner]
                message = f"duplicate key '{shown(name)}', first on line {first}: rename or join them"
                self.spec.mistake(inner, message, _line(key))
                self.skip(next(self.events))
                continue
            self.spec.lines[inner] = _line(key)
            data[name] = self.value(next(self.events), inner)
        return data

    def skip(self, event: yaml.Event) -> None:
        """Pass over the rest of a value that begins with an event."""
        depth = 0
        while True:
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if not depth:
                return
            event = next(self.events)

    def stop(self, line: int, message: str) -> NoReturn:
        """Raise a mistake after which nothing more can be read, with those noted before."""
        self.spec.mistake((), message, line)
        raise self.spec.error()


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1
