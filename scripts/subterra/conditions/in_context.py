"""In context: a model that reads the whole flowchart in its system prompt, one call a turn."""

from collections.abc import Mapping, Sequence

from subterra.conditions import Said
from subterra.conditions.asking import Asker, ChatAsker, Question
from subterra.conditions.procedure import procedure_text
from subterra.conditions.talk import told
from subterra.flowchart import Flowchart
from subterra.models import MOST_TOKENS, Chat
from subterra.prompts import Prompts


class InContext:
    """The condition `in_context`, and with the base model `base_in_context`."""

    def __init__(self, chat: Chat, flowchart: Flowchart, *, temperature: float, max_tokens: int = MOST_TOKENS):
        self.chat, self.temperature, self.max_tokens = chat, temperature, max_tokens
        prompts = Prompts("in_context")
        self.system = prompts.write(
            "system", system=flowchart.system, procedure=procedure_text(flowchart), tools=bool(flowchart.tools())
        )
        self.opening = prompts.write("opening")

    def begin(self, seed: int) -> "InContextAgent":
        """Return an agent for a new dialogue."""
        return self.agent(ChatAsker(self.chat, seed, self.temperature, self.max_tokens))

    def agent(self, asker: Asker) -> "InContextAgent":
        """Return an agent whose questions somebody else answers."""
        return InContextAgent(self, asker)


class InContextAgent:
    """Answers in one dialogue."""

    def __init__(self, condition: InContext, asker: Asker):
        self.condition, self.asker = condition, asker

    async def turn(self, turns: Sequence[Mapping]) -> Said:
        """Return the agent's next turn."""
        self.asker.begin(len(turns))
        system = {"role": "system", "content": self.condition.system}
        messages = [system, *told(turns, self.condition.opening)]
        text = await self.asker.ask(Question("turn", "", messages))
        return Said(text.strip(), self.asker.replies())
