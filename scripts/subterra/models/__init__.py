"""One way to ask for the next turn, whoever answers."""

from dataclasses import dataclass

from subterra.errors import SubterraError


class ContextFull(SubterraError):
    """The conversation is longer than the model can read."""


@dataclass(frozen=True)
class Reply:
    """One turn of a model: text, tokens of the whole prompt, tokens written, seconds it took."""

    text: str
    tokens_in: int
    tokens_out: int
    seconds: float
