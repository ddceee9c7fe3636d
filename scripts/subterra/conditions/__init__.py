"""Who answers the customer: what is compared, all behind one interface.

`compiled` asks a fine-tuned model with its one sentence. `in_context` shows a model the whole flowchart. `langgraph`
and `crewai` put a program between: it knows the flowchart, and the model sees one step of it at a time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from subterra.models import Reply


@dataclass(frozen=True)
class Said:
    """An agent's turn as the model wrote it, a call of a tool included, and every answer that was asked for it.

    `guessed` counts the questions whose answers could not be read: then the first way is taken, or a call left empty.
    """

    text: str
    replies: tuple[Reply, ...]
    guessed: int = 0


class Agent(Protocol):
    """Whoever answers in one dialogue."""

    async def turn(self, turns: Sequence[Mapping]) -> Said:
        """Return the agent's next turn after `turns` (role, content, call; see records.TURN). Raises ContextFull."""


class Condition(Protocol):
    """A way to answer customers."""

    def begin(self, seed: int) -> Agent:
        """Return an agent for a new dialogue; equal seeds (32 bits) draw alike."""
