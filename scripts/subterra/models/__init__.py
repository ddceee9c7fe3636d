"""One way to ask for the next turn, whoever answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from subterra.errors import SubterraError

MOST_TOKENS = 120  # of a turn: a small model that runs away is stopped here


class ContextFull(SubterraError):
    """The conversation is longer than the model can read."""


@dataclass(frozen=True)
class Reply:
    """One answer of a model, and what it took.

    `tokens_in` are those of the whole prompt, `tokens_cached` those of them that a provider had kept. `seconds` is the
    time to the whole answer, `busy` the time of this machine: of answers that are written side by side, each has its
    share. `finish` is "stop", or what broke it off ("length", "refusal", ...).
    """

    text: str
    tokens_in: int
    tokens_out: int
    seconds: float
    tokens_cached: int = 0
    busy: float = 0.0
    dollars: float = 0.0
    finish: str = "stop"


class Chat(Protocol):
    """Whoever answers: an endpoint (models.endpoint_chat) or a GGUF file (models.sequences), many talks at once."""

    async def reply(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        temperature: float,
        seed: int,
        max_tokens: int = MOST_TOKENS,
        as_json: bool = False,
    ) -> Reply:
        """Return the next turn of a talk. Another seed asks the same anew. Raises ContextFull, Unanswered, NoUse."""
