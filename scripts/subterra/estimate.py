"""What the conversations of an agent will cost, before anything is asked.

The teacher does all that it will do, with an asker that makes up the answers: so requests are counted and measured as
they will be sent, and those that the cache answers are known. What will have to be written again is not foreseen.
"""

import asyncio
import json
import random
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from subterra.conversation import laid_out
from subterra.costs import MESSAGE_TOKENS, Usage
from subterra.errors import SubterraError
from subterra.models.asking import Answer, Books, Model, books
from subterra.models.builtin import BuiltinTeacher
from subterra.teacher import ModelTeacher, Unfit, Writing, offered
from subterra.text import pretty, readable, write_whole

SAMPLE = 1_000  # conversations that are gone through; more are scaled up
MEASURED = 200_000  # bytes that are tokenized for it
WORDS = "Yes, that would be very good for me, and what comes next?"  # where a spec has no phrasings

Count = Callable[[str], float]


class Imagined:
    """An asker that asks nobody: it answers from the cache, or makes up what fits, and adds up what that would cost."""

    def __init__(self, opened: Books, mode: str, tokens: Count):
        self.books, self.mode, self.tokens = opened, mode, tokens
        self.writing: Writing | None = None
        self.words: Mapping[int, str] = {}
        self.asked: list[tuple[Usage, float]] = []
        self.cached = 0

    async def ask(self, messages: Sequence[Mapping], salt: str, purpose: str, as_json: bool = False) -> Answer:
        """Return the kept answer, or one that fits."""
        model = self.books.model
        body = model.body(messages, as_json)
        if kept := self.books.kept(model.key(body, salt)):
            self.cached += 1
            return kept
        text = self._made_up(messages)
        tokens_in = self.tokens("".join(one["content"] for one in messages)) + MESSAGE_TOKENS / 4 * len(messages)
        usage = Usage(round(tokens_in), 0, round(self.tokens(text)))
        self.asked.append((usage, self.books.at_most(body)))
        return Answer(text, "stop", usage, 0.0)

    def _made_up(self, messages: Sequence[Mapping]) -> str:
        writing = self.writing
        if len(messages) == 1:  # the reader of customers' turns sees nothing else
            meant = {
                turn.number: next(key for key, one in offered(turn, writing.salt).items() if one in turn.shows)
                for turn in writing.hubs
            }
            return readable({"answers": [{"turn": number, "choice": key} for number, key in meant.items()]})
        if self.mode == "turn":
            return self.words[next(turn.number for turn in writing.spoken if turn.number not in writing.texts)]
        return writing.as_json(self.words)


def estimate(
    shards: Iterable[str | Path], cache_folder: str | Path, settings: Mapping[str, Any], tokens: Count
) -> dict[str, Any]:
    """Return what the conversations of an agent's shards will cost.

    `settings` is the config's `teacher`, `tokens` counts those of a text. The keys: agent, conversations, calls, cached
    (answered already), tokens_in, tokens_out (of the calls that are left), dollars, at_most (dollars that the ledger
    will set aside for them), spent and budget (dollars), and fits: whether the budget holds it.
    """
    works = [json.loads(Path(shard).read_text(encoding="utf-8")) for shard in shards]
    talks = [(talk, work) for work in works for talk in work["conversations"]]
    sample = random.Random(1).sample(talks, min(SAMPLE, len(talks)))
    model = Model.of(settings)
    with books(model, cache_folder, settings["budget"], 0) as opened:
        asker = Imagined(opened, settings["mode"], tokens)
        for talk, work in sample:
            asyncio.run(_imagine(talk, work, asker))
        spent = opened.ledger.spent()
    scale = len(talks) / max(1, len(sample))
    usage = Usage(
        round(scale * sum(one.tokens_in for one, _ in asker.asked)),
        0,
        round(scale * sum(one.tokens_out for one, _ in asker.asked)),
    )
    dollars = model.price.dollars(usage, settings["batch"])
    return {
        "agent": works[0]["agent"],
        "model": model.name,
        "mode": settings["mode"],
        "conversations": len(talks),
        "calls": round(scale * (len(asker.asked) + asker.cached)),
        "cached": round(scale * asker.cached),
        "tokens_in": usage.tokens_in,
        "tokens_out": usage.tokens_out,
        "dollars": dollars,
        "at_most": scale * sum(most for _, most in asker.asked) * (model.price.batch if settings["batch"] else 1),
        "spent": spent,
        "budget": settings["budget"],
        "fits": spent + dollars <= settings["budget"],
    }


async def _imagine(talk: Mapping, work: Mapping, asker: Imagined) -> None:
    steps, values, seed = laid_out(talk, work)
    ids = {step["node"] for step in work["steps"].values()}
    teacher = ModelTeacher({**work["teacher"], "rewrites": 0}, asker, work["system"], work["facts"], ids)
    asker.writing = teacher.begin(talk["id"], steps, values, seed)
    spoken = BuiltinTeacher().write(steps, values, seed)
    asker.words = {
        turn.number: " ".join(spoken[at] for at in turn.steps).strip() or " ".join([WORDS, *turn.says.values()])
        for turn in asker.writing.spoken
    }
    with suppress(Unfit):  # an answer that is kept may be one that did not fit
        await teacher.write(asker.writing)


def token_counter(folder: str) -> Count:
    """Return what counts the tokens of a text: the tokenizer of a model folder, then its bytes a token so far."""
    from subterra.training.tokens import load_tokenizer

    tokenizer, measured, counted = load_tokenizer(folder).backend_tokenizer, 0, 0

    def count(text: str) -> float:
        nonlocal measured, counted
        size = len(text.encode())
        if measured < MEASURED:
            measured, counted = measured + size, counted + len(tokenizer.encode(text, add_special_tokens=False).ids)
        return size * counted / measured if measured else 0

    return count


def write_estimate(
    shards: Sequence[str | Path], cache_folder: str | Path, settings: Mapping[str, Any], tokenizer: str, out: str | Path
) -> None:
    """Write an estimate as JSON, and tell it in a line."""
    told = estimate(shards, cache_folder, settings, token_counter(tokenizer))
    write_whole(out, pretty(told))
    print(line(told), file=sys.stderr, flush=True)


def must_fit(file: str | Path) -> None:
    """Raise SubterraError where an estimate was more than the budget had left."""
    told = json.loads(Path(file).read_text(encoding="utf-8"))
    if not told["fits"]:
        raise SubterraError(
            f"teacher.budget: ${told['budget']:g}: {told['agent']} will cost about ${told['dollars']:.2f} and "
            f"${told['spent']:.2f} are spent: raise the budget, ask for fewer conversations, or take a cheaper model; "
            "nothing was asked"
        )


def line(told: Mapping[str, Any]) -> str:
    """Return an estimate for people."""
    missing = told["calls"] - told["cached"]
    return (
        f"{told['agent']}: {told['conversations']:,} conversations by {told['model']}, {told['mode']} mode: "
        f"{missing:,} calls to make and {told['cached']:,} answered already, {told['tokens_in']:,} tokens in and "
        f"{told['tokens_out']:,} out: about ${told['dollars']:.2f} beside what has to be written again; "
        f"spent so far ${told['spent']:.2f} of ${told['budget']:g}"
    )
