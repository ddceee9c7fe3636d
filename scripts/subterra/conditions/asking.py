"""What a condition asks of a model, and who answers it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from subterra.models import Chat, Reply
from subterra.text import digest


@dataclass(frozen=True)
class Question:
    """One request to a model. `kind` is speak, route or call (or turn, for a whole turn); `step` is where it is asked.

    `options` are the ways to choose from, (letter, step it leads to).
    """

    kind: str
    step: str
    messages: Sequence[Mapping[str, str]]
    options: tuple[tuple[str, str], ...] = ()


class Asker(Protocol):
    """Whoever answers the questions of one dialogue; `guessed` are a turn's as in Said."""

    guessed: int

    def begin(self, place: int) -> None:
        """Begin the agent's turn at a place in the talk."""

    async def ask(self, question: Question) -> str:
        """Return the model's words."""

    def replies(self) -> tuple[Reply, ...]:
        """Return the answers since the turn began."""


class ChatAsker:
    """Asks a Chat. `seed` decides all draws of a dialogue; each question draws anew."""

    def __init__(self, chat: Chat, seed: int, temperature: float, max_tokens: int):
        self.chat, self.seed, self.temperature, self.max_tokens = chat, seed, temperature, max_tokens
        self.begin(0)

    def begin(self, place: int) -> None:
        """Begin the agent's turn at a place in the talk."""
        self._place, self._replies, self.guessed = place, [], 0

    async def ask(self, question: Question) -> str:
        """Return the model's words. Raises what the chat raises."""
        reply = await self.chat.reply(
            question.messages,
            temperature=self.temperature,
            seed=int(digest([self.seed, self._place, len(self._replies)], 8), 16),
            max_tokens=self.max_tokens,
            as_json=question.kind == "call",
        )
        self._replies.append(reply)
        return reply.text

    def replies(self) -> tuple[Reply, ...]:
        """Return the answers since the turn began."""
        return tuple(self._replies)
