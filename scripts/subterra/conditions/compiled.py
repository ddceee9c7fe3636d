"""The compiled model: it has its one sentence and the talk, and nothing stands between it and the customer."""

from collections.abc import Mapping, Sequence

from subterra.conditions import Said
from subterra.dialogue import messages
from subterra.models import Chat


class Compiled:
    """A fine-tuned model behind a `chat`, with its `system` prompt."""

    def __init__(self, chat: Chat, system: str, temperature: float):
        self.chat, self.system, self.temperature = chat, system, temperature

    def begin(self, seed: int) -> "_Talk":
        """Return the agent of a new dialogue."""
        return _Talk(self, seed)


class _Talk:
    def __init__(self, condition: Compiled, seed: int):
        self.condition, self.seed = condition, seed

    async def turn(self, turns: Sequence[Mapping]) -> Said:
        one = self.condition
        # Each turn draws anew: one seed for all would give every turn the same luck.
        seed = (self.seed + len(turns)) % 2**32
        reply = await one.chat.reply(messages(one.system, turns), temperature=one.temperature, seed=seed)
        return Said(reply.text, (reply,))
