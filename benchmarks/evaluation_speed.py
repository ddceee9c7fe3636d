"""Measure how fast a GGUF file holds an evaluation's dialogues, one at a time and side by side, and print a table.

PYTHONPATH=scripts python benchmarks/evaluation_speed.py results/travel_booking/gguf/q8_0.gguf

The customers say what a test set's customers said, whatever the model answers. Every line plays the same dialogues in
the same process; `same words` counts the dialogues that are, word for word, those of the lines named.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Generator, Iterator
from pathlib import Path

from subterra.dialogue import messages
from subterra.models.gguf import GgufModel
from subterra.models.sequences import Sequences
from subterra.records import CONVERSATION, read_table
from subterra.tools import split_call

AT_ONCE, THREADS, MOST_TURNS = (1, 4, 16, 32, 64), (1, 2), 40
HEADS = ("talks at once", "threads", "tokens", "seconds", "tokens a second", "ratio", "a CPU second", "ratio")


def talk(scenario: dict, system: str) -> Generator[list[dict], str, list[dict]]:
    """Yield what the model is asked, take its answer each time, and return the turns."""
    lines = {role: [turn["content"] for turn in scenario["turns"] if turn["role"] == role] for role in ("user", "tool")}
    turns: list[dict] = []
    if scenario["turns"][0]["role"] == "user":
        turns.append({"role": "user", "content": lines["user"].pop(0)})
    while len(turns) < MOST_TURNS:
        words, call = split_call((yield messages(system, turns)))
        turns.append({"role": "assistant", "content": words, "call": call})
        role = "tool" if call else "user"
        if not lines[role] or not (words or call):
            break
        turns.append({"role": role, "content": lines[role].pop(0)})
    return turns


class Tally:
    """Tokens, seconds and seconds of the processor of one way to hold the dialogues."""

    def __init__(self):
        self.tokens, self._began, self._busy = 0, time.perf_counter(), time.process_time()

    def stop(self) -> None:
        """Take the time."""
        self.seconds, self.busy = time.perf_counter() - self._began, time.process_time() - self._busy


def one_at_a_time(path: Path, scenarios: list[dict], temperature: float) -> tuple[Tally, list]:
    """Hold the dialogues one after the other through GgufModel."""
    with GgufModel(path) as model:
        tally, held = Tally(), []
        for scenario in scenarios:
            play = talk(scenario, model.metadata("subterra.system"))
            asked = next(play)
            try:
                while True:
                    reply = model.reply(asked, temperature=temperature, seed=1)
                    tally.tokens += reply.tokens_out
                    asked = play.send(reply.text)
            except StopIteration as end:
                held.append(end.value)
        tally.stop()
    return tally, held


async def side_by_side(
    path: Path, scenarios: list[dict], temperature: float, at_once: int, threads: int
) -> tuple[Tally, list]:
    """Hold so many dialogues at once through Sequences."""
    async with Sequences(path, parallel=at_once, threads=threads) as model:
        tally, room = Tally(), asyncio.Semaphore(at_once)

        async def hold(scenario: dict) -> list[dict]:
            async with room:
                play = talk(scenario, model.metadata("subterra.system"))
                asked = next(play)
                try:
                    while True:
                        reply = await model.reply(asked, temperature=temperature, seed=1)
                        tally.tokens += reply.tokens_out
                        asked = play.send(reply.text)
                except StopIteration as end:
                    return end.value

        held = await asyncio.gather(*map(hold, scenarios))
        tally.stop()
    return tally, held


def rows(path: Path, scenarios: list[dict], temperature: float) -> Iterator[list[str]]:
    """Yield the table's lines."""
    alone, words = one_at_a_time(path, scenarios, temperature)
    yield [*line("1, GgufModel", 1, alone, alone), "-", "-"]
    first = None
    for threads in THREADS:
        for at_once in AT_ONCE:
            tally, held = asyncio.run(side_by_side(path, scenarios, temperature, at_once, threads))
            first = first or held
            yield [*line(str(at_once), threads, tally, alone), same(held, words), same(held, first)]


def line(at_once: str, threads: int, tally: Tally, alone: Tally) -> list[str]:
    """Return the cells of a way to hold the dialogues, compared with one at a time."""
    cells = [at_once, str(threads), f"{tally.tokens:,}", f"{tally.seconds:.1f}"]
    for spent, reference in ((tally.seconds, alone.seconds), (tally.busy, alone.busy)):
        speed = tally.tokens / spent
        cells += [f"{speed:,.0f}", f"{speed / (alone.tokens / reference):.2f}"]
    return cells


def same(held: list, others: list) -> str:
    return f"{sum(mine == theirs for mine, theirs in zip(held, others, strict=True))} of {len(held)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("gguf", type=Path, help="results/{agent}/gguf/{quantization}.gguf")
    parser.add_argument("--test", type=Path, help="conversations; the default is ../dataset/test.parquet beside it")
    parser.add_argument("--dialogues", type=int, default=128)
    parser.add_argument("--temperature", type=float, default=0.0)
    options = parser.parse_args()
    test = options.test or options.gguf.parents[1] / "dataset" / "test.parquet"
    scenarios = read_table(test, CONVERSATION)[: options.dialogues]
    heads = [*HEADS, "same words as GgufModel", "as 1 at once"]
    print(f"| {' | '.join(heads)} |\n" + "| --- " * len(heads) + "|")
    for row in rows(options.gguf, scenarios, options.temperature):
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
