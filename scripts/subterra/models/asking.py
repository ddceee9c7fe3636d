"""What asking a model for money has in common, one request at a time or a file of them: keys, answers, settings."""

import os
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

from subterra.cache import Cache
from subterra.costs import Price, Usage, price_of
from subterra.errors import SubterraError
from subterra.ledger import BudgetReached, Ledger
from subterra.prompts import prompts_digest
from subterra.text import digest

SHAPING = ("backend", "base_url", "model", "mode", "json", "parameters", "check_when", "rewrites")
MOST_TOKENS = ("max_tokens", "max_completion_tokens")


def shaping(settings: Mapping[str, Any]) -> dict:
    """Return what of the config's `teacher` shapes the words; the rest of it makes nothing stale."""
    if settings["backend"] == "builtin":
        return {"backend": "builtin"}
    return {key: settings[key] for key in SHAPING} | {"prompts": prompts_digest("teacher")}


class NoUse(SubterraError):
    """Asking goes on failing until somebody mends something: a wrong key, a model that is not there."""


class ToldAlready(NoUse):
    """The same, where another request was first to find out, and says why."""

    def __init__(self) -> None:
        super().__init__("not asked: another job has found out that it is no use, and said why")


class Unanswered(SubterraError):
    """There is no answer to this request after all tries."""


@dataclass(frozen=True)
class Answer:
    """What a model wrote, and why it stopped ("stop", "length", "refusal", ...); `cached` means kept from before.

    `seconds` is the time that it took when it was asked.
    """

    text: str
    finish: str
    usage: Usage
    dollars: float
    cached: bool = False
    seconds: float = 0.0


class Asker(Protocol):
    """Whoever answers requests."""

    async def ask(self, messages: Sequence[Mapping], salt: str, purpose: str, as_json: bool = False) -> Answer:
        """Return the answer to messages. Another `salt` asks the same anew. Raises Unanswered, NoUse, BudgetReached."""


class Stopping:
    """An asker that asks no more once there is a reason to stop."""

    def __init__(self, asker: Asker):
        self.asker, self.reason = asker, None

    async def ask(self, messages: Sequence[Mapping], salt: str, purpose: str, as_json: bool = False) -> Answer:
        """Ask, unless there is a reason not to."""
        if self.reason:
            raise self.reason
        try:
            return await self.asker.ask(messages, salt, purpose, as_json)
        except (NoUse, BudgetReached) as reason:
            if self.reason is None or isinstance(self.reason, ToldAlready):
                self.reason = reason
            raise


@dataclass(frozen=True)
class Model:
    """A model at an endpoint, and how it is asked: the part of the config's `section` that this module knows."""

    base_url: str
    name: str
    parameters: Mapping[str, Any]
    json: str
    api_key_env: str
    timeout: float
    tries: int
    concurrency: int
    batch_poll: float
    section: str = "teacher"

    @classmethod
    def of(cls, settings: Mapping[str, Any], section: str = "teacher") -> "Model":
        """Return the model of a section of the config."""
        same = ("base_url", "parameters", "json", "api_key_env", "timeout", "tries", "concurrency", "batch_poll")
        return cls(name=settings["model"], section=section, **{key: settings[key] for key in same})

    @property
    def most_out(self) -> int:
        """The most tokens of an answer. Raises SubterraError where no parameter sets it."""
        for key in MOST_TOKENS:
            if key in self.parameters:
                return int(self.parameters[key])
        raise SubterraError(
            f"{self.section}.parameters: no {' or '.join(MOST_TOKENS)}: without it a request may cost any sum; set one"
        )

    @property
    def price(self) -> Price:
        """What it costs."""
        return price_of(self.name)

    def body(self, messages: Sequence[Mapping], as_json: bool) -> dict:
        """Return the request's body."""
        asked = {"response_format": {"type": "json_object"}} if as_json and self.json == "object" else {}
        return {"model": self.name, "messages": list(messages), **self.parameters, **asked}

    def key(self, body: Mapping, salt: str) -> str:
        """Return the key of an answer in the cache: of all that is sent, where to, and what makes it another."""
        return digest([self.base_url, body, salt], 40)

    @property
    def endpoint(self) -> str:
        """Name of the endpoint and the model, for other jobs."""
        return f"{self.base_url} {self.name}"

    def api_key(self) -> str:
        """Return the key from the environment. Raises NoUse where it is not set."""
        if not self.api_key_env:
            return "none"
        found = os.environ.get(self.api_key_env, "").strip()
        if not found:
            raise NoUse(
                f"{self.section}.api_key_env: {self.api_key_env} is not set: export the key of {self.base_url} under it"
            )
        return found


class Books:
    """The cache and the ledger of a folder, and what an answer costs."""

    def __init__(self, model: Model, cache: Cache, ledger: Ledger):
        self.model, self.cache, self.ledger = model, cache, ledger
        self.price, self.most_out = model.price, model.most_out

    def kept(self, key: str) -> Answer | None:
        """Return the answer that is there already."""
        found = self.cache.get(key)
        if found is None:
            return None
        usage, seconds = Usage(*found["usage"]), found.get("seconds", 0.0)
        return Answer(found["text"], found["finish"], usage, found["dollars"], cached=True, seconds=seconds)

    def keep(self, key: str, completion: Mapping, in_batch: bool = False, seconds: float = 0.0) -> Answer:
        """Keep the answer of a completion (as the protocol has it), and return it."""
        answer = replace(answer_of(completion, self.price, in_batch), seconds=seconds)
        usage = [answer.usage.tokens_in, answer.usage.tokens_cached, answer.usage.tokens_out]
        told = {"text": answer.text, "finish": answer.finish, "usage": usage, "dollars": answer.dollars}
        told |= {"seconds": seconds}
        self.cache.keep(key, told)
        return answer

    def at_most(self, body: Mapping, in_batch: bool = False) -> float:
        """Return what a request can cost at the most, in dollars."""
        return self.price.at_most(body["messages"], self.most_out, in_batch)


def answer_of(completion: Mapping, price: Price, in_batch: bool = False) -> Answer:
    """Return the answer in a chat completion. Raises KeyError, IndexError or TypeError for what is none."""
    choice = completion["choices"][0]
    message = choice["message"]
    usage = completion.get("usage") or {}
    kept = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    counted = Usage(usage.get("prompt_tokens") or 0, kept, usage.get("completion_tokens") or 0)
    finish = "refusal" if message.get("refusal") else choice.get("finish_reason") or "stop"
    return Answer(message.get("content") or "", finish, counted, price.dollars(counted, in_batch))


@contextmanager
def books(model: Model, folder, budget: float | None, pace: float):
    """Open the cache and the ledger of a folder."""
    with Cache(folder) as cache, Ledger(folder, budget, pace, model.section) as ledger:
        yield Books(model, cache, ledger)
