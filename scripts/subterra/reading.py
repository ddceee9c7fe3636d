"""Small readers: plain data of a spec as text, lists and templates, with a line for every mistake of form.

One slip makes one line: a misspelt name counts as the nearest known one, so that the rest is still checked.
"""

from collections.abc import Container
from typing import Any

from subterra.errors import closest, shown
from subterra.phrasings import flaw
from subterra.spec_file import Place, SpecFile
from subterra.text import names, stray_braces

MOST_COMPARED = 200_000  # looking for the nearest of thousands of names takes a while: no more names than these


class Reading:
    """Reads values of a spec and notes what is malformed on the way.

    `variables` are the names that a template may fill in, `facts` those that the agent alone may.
    """

    def __init__(self, spec: SpecFile):
        self.spec = spec
        self.compared = 0
        self.variables: dict[str, tuple[str, ...]] = {}
        self.facts: Container[str] = ()

    def nearest(self, value: str, known: tuple[str, ...] | dict) -> str | None:
        """Return the nearest known name, as long as there is time to look for it."""
        self.compared += len(known)
        return closest(value, known) if self.compared <= MOST_COMPARED else None

    def hint(self, value: str, known: tuple[str, ...] | dict) -> str:
        found = self.nearest(value, known)
        return f" (did you mean '{found}'?)" if found else ""

    def closed(self, data: dict, known: tuple[str, ...], place: Place) -> None:
        for key in data:
            if key not in known:
                hint = self.hint(key, known) or f" (known: {', '.join(known)})"
                self.spec.mistake((*place, key), f"unknown key '{shown(key)}'{hint}: correct it or take it out")

    def mapping(self, data: dict, key: str, place: Place, example: str) -> dict[str, Any]:
        value = data.get(key, {})
        if isinstance(value, dict):
            return value
        self.wrong((*place, key), value, f"a mapping such as {example}")
        return {}

    def wrong(self, place: Place, value: Any, wanted: str) -> None:
        """Note a value of the wrong type."""
        what = f"{kind(value)} {shown(value)}".rstrip()
        self.spec.mistake(place, f"{what} where {wanted} belongs: write it so")

    def text(self, data: dict, key: str, place: Place, wanted: str = "") -> str:
        """Read a line of text; `wanted` says what to write where it must not be missing."""
        if key not in data:
            if wanted:
                self.spec.mistake((*place, key), f"missing: {wanted}")
            return ""
        return self.line(data[key], (*place, key), wanted or "write a line of text or take the key out")

    def line(self, value: Any, place: Place, wanted: str) -> str:
        if not isinstance(value, str):
            self.wrong(place, value, "a line of text")
            return ""
        if not value.strip():
            self.spec.mistake(place, f"empty: {wanted}")
        return " ".join(value.split())

    def texts(
        self, data: dict, key: str, place: Place, agent: bool = False, more: Container[str] = ()
    ) -> tuple[str, ...]:
        """Read a list of lines; one line alone counts as a list of one. `agent` and `more` are as in `template`."""
        value = data.get(key, [])
        place = (*place, key)
        if isinstance(value, str):
            value = [value]
        if not isinstance(value, list):
            self.wrong(place, value, "a list of lines")
            return ()
        if key in data and not value:
            self.spec.mistake(place, "an empty list: write at least one line")
        found: dict[str, None] = {}
        for index, item in enumerate(value):
            line = self.line(item, (*place, index), "write a line of text or take it out")
            if line in found:
                self.spec.mistake((*place, index), f"'{shown(line)}' stands twice: take one out")
            elif line:
                found[line] = None
                self.template(line, (*place, index), agent, more)
                if wrong := flaw(line):
                    self.spec.mistake((*place, index), f"'{shown(line)}': {wrong}")
        return tuple(sorted(found))

    def template(self, line: str, place: Place, agent: bool = False, more: Container[str] = ()) -> None:
        """Check the names in a line: variables, facts where the agent speaks, and what else the place knows."""
        for name in names(line):
            if name in self.variables or name in more or (agent and name in self.facts):
                continue
            if name in self.facts:
                message = "is knowledge of the agent's, which customers and tools do not have: use a variable"
            else:
                message = f"no such variable{self.hint(name, self.variables)}: declare it under variables"
            self.spec.mistake(place, f"{{{shown(name)}}}: {message}")
        stray = stray_braces(line)
        if stray:
            message = "a template fills in {name} of a declared variable and does nothing else: write it so"
            self.spec.mistake(place, f"'{shown(stray)}': {message}")


def kind(value: Any) -> str:
    """Name the type of plain YAML data as people do."""
    return {dict: "a mapping", list: "a list"}.get(type(value), "the word" if value else "nothing")
