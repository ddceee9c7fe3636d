"""All dialogues of a run go before a judge that the config names."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from subterra.conditions.procedure import procedure_text
from subterra.flowchart import Flowchart
from subterra.judge import judge_dialogues
from subterra.prompts import Prompts
from subterra.sections import most_tokens, name_of, open_chat, temperature_of

TRIES = 3  # times that a judge is asked for a verdict that can be used


def judge_all(
    flowchart: Flowchart,
    scenarios: Sequence[Mapping],
    dialogues: Sequence[Mapping],
    settings: Mapping[str, Any],
    section: str,
    *,
    seed: int,
    cache: str | Path,
    parallel: int,
) -> list[dict]:
    """Return a row (see records.JUDGEMENT) for each dialogue, in their order.

    `settings` are all of the config's `section`. Raises NoUse and BudgetReached; what was answered is kept.
    """

    async def judged() -> list[dict]:
        async with open_chat(settings, section, cache, f"{flowchart.agent} {section}", parallel) as chat:
            return await judge_dialogues(
                chat,
                Prompts("judge"),
                procedure_text(flowchart),
                scenarios,
                dialogues,
                parallel=parallel,
                label=f"{flowchart.agent}, {section}",
                judge=f"{name_of(settings)} ({section.replace('_', ' ')})",  # two may ask the same model
                temperature=temperature_of(settings),
                seed=seed,
                max_tokens=most_tokens(settings),
                tries=TRIES,
            )

    return asyncio.run(judged())
