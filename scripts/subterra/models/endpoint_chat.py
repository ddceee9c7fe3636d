"""An endpoint as one that answers in a talk: every answer is paid for once, written into the ledger, and kept."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from subterra.models import MOST_TOKENS, Reply
from subterra.models.asking import Asker, Model, Stopping, books
from subterra.models.endpoint import Endpoint


class EndpointChat:
    """Asks an endpoint with the parameters of its section; what a caller wants of them beside that has no effect."""

    def __init__(self, asker: Asker, purpose: str):
        self.asker, self.purpose = asker, purpose

    async def reply(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        temperature: float,
        seed: int,
        max_tokens: int = MOST_TOKENS,
        as_json: bool = False,
    ) -> Reply:
        """Return the answer, from the cache where it is there. Raises Unanswered, NoUse, BudgetReached."""
        answer = await self.asker.ask(messages, str(seed), self.purpose, as_json)
        usage = answer.usage
        return Reply(
            answer.text.strip(),
            usage.tokens_in,
            usage.tokens_out,
            answer.seconds,
            tokens_cached=usage.tokens_cached,
            dollars=answer.dollars,
            finish=answer.finish,
        )


@asynccontextmanager
async def endpoint_chat(
    settings: Mapping[str, Any], section: str, cache: str | Path, purpose: str
) -> AsyncIterator[EndpointChat]:
    """Open the endpoint of a section of the config; `purpose` is what its requests are for, in the ledger."""
    model = Model.of(settings, section)
    with books(model, cache, settings["budget"], settings["requests_a_minute"]) as opened:
        async with Endpoint(opened) as endpoint:
            yield EndpointChat(Stopping(endpoint), purpose)
