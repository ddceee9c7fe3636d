"""The built-in teacher: offline, free, and the same on every machine. It speaks the phrasings of the spec."""

from collections.abc import Mapping, Sequence

from subterra.code import code_digest
from subterra.phrasings import one_form
from subterra.text import fill, fraction


class BuiltinTeacher:
    """Chooses a phrasing for each step of a path by lot and fills in the draw."""

    backend = "builtin"
    model = None
    paid = False

    def identity(self) -> dict:
        """Return what makes this teacher another one: its code."""
        return {"backend": self.backend, "code": code_digest(__name__)}

    def view(self, steps: Sequence[Mapping], values: Sequence[Mapping[str, str]]) -> dict:
        """Return all of a path and a draw that shapes the answer."""
        changes = [
            (number, dict(now)) for number, now in enumerate(values) if not number or now is not values[number - 1]
        ]
        return {"says": [step["says"] for step in steps], "values": changes}

    def write(self, steps: Sequence[Mapping], values: Sequence[Mapping[str, str]], seed: str) -> list[str]:
        """Return the words of each step ("" for one without), with the values that hold there.

        Equal arguments give equal words.
        """
        lines = []
        for index, (step, now) in enumerate(zip(steps, values, strict=True)):
            lot = int(fraction(seed, index) * len(step["says"]))
            lines.append(fill(one_form(step["says"][lot], seed, index), now) if step["says"] else "")
        return lines
