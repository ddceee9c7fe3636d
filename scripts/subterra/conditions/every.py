"""Every condition by its name."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from subterra.conditions import Condition
from subterra.conditions.compiled import Compiled
from subterra.errors import SubterraError
from subterra.flowchart import Flowchart
from subterra.models import Chat
from subterra.prompts import prompts_digest
from subterra.sections import BASE, PROMPTS


@asynccontextmanager
async def open_condition(
    name: str, chat: Chat, flowchart: Flowchart, temperature: float, max_tokens: int
) -> AsyncIterator[Condition]:
    """Open the condition of a name. Raises SubterraError where there is none, or where what it needs is missing."""
    kind = name.removeprefix(BASE)
    settings = {"temperature": temperature, "max_tokens": max_tokens}
    if kind.startswith("compiled-"):
        yield Compiled(chat, flowchart.system, temperature)
    elif kind == "in_context":
        from subterra.conditions.in_context import InContext

        yield InContext(chat, flowchart, **settings)
    elif kind == "langgraph":
        from subterra.conditions.graph import LangGraphCondition

        yield LangGraphCondition(chat, flowchart, **settings)
    elif kind == "crewai":
        from subterra.conditions.crew import CrewCondition

        crew = CrewCondition(chat, flowchart, **settings)
        try:
            yield crew
        finally:
            await crew.close()
    else:
        raise SubterraError(f"evaluation.conditions: '{name}': no such condition: one of {', '.join(PROMPTS)}")


def identity_of(name: str, flowchart: Flowchart) -> Any:
    """Return what shapes the answers of a condition beside its model: what it is told."""
    kind = name.removeprefix(BASE)
    if kind.startswith("compiled-"):
        return ["compiled", flowchart.system]
    return [kind, flowchart.to_json(), *map(prompts_digest, PROMPTS[kind])]
