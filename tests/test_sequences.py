"""Talks side by side: each gets the turns that it would get alone, to the last bit."""

import asyncio
import json

import llama_cpp
import numpy as np
import pytest
from subterra.errors import SubterraError
from subterra.export.gguf_writer import export_f16
from subterra.export.quantize import quantize
from subterra.models import ContextFull
from subterra.models.gguf import GgufModel
from subterra.models.guesses import Guesses
from subterra.models.sequences import Sequences
from subterra.models.streams import Streams
from toy_model import SYSTEM, write_toy

OPENING = [{"role": "system", "content": SYSTEM}]
WORDS = ["Kyoto, 9 days.", "to " * 60, "Hm?", "I would like to travel in 2026. " * 6, "日本", "the customer"]
FACTS = {"agent": "toy", "spec_digest": "abc", "version": "0.1.0", "system": SYSTEM}


@pytest.fixture(scope="module")
def f16(tmp_path_factory):
    folder = write_toy(tmp_path_factory.mktemp("toy"))
    return export_f16(folder, folder / "f16.gguf", **FACTS)


@pytest.fixture(scope="module")
def quantized(tmp_path_factory):
    """A wider model, whose sums have many terms, as Q8_0."""
    folder = write_toy(tmp_path_factory.mktemp("wide"), hidden=256, feed=512)
    export_f16(folder, folder / "f16.gguf", **FACTS)
    quantize(folder / "f16.gguf", folder / "q8_0.gguf", "q8_0")
    return folder / "q8_0.gguf"


@pytest.fixture(scope="module")
def k_type(quantized):
    """The same model in a type whose last bits follow the batch."""
    quantize(quantized.with_name("f16.gguf"), quantized.with_name("q4_k_m.gguf"), "q4_k_m")
    return quantized.with_name("q4_k_m.gguf")


def answers(file, asked, *, together=True, **settings) -> list:
    """Return a reply to each (messages, temperature, seed, most tokens), asked at once or one after the other."""

    async def ask():
        async with Sequences(file, **settings) as model:
            waiting = [model.reply(m, temperature=t, seed=s, max_tokens=n) for m, t, s, n in asked]
            return await asyncio.gather(*waiting) if together else [await one for one in waiting]

    return asyncio.run(ask())


def texts(*arguments, **settings) -> list[str]:
    return [reply.text for reply in answers(*arguments, **settings)]


def said(words: str) -> list[dict]:
    return [*OPENING, {"role": "assistant", "content": "Where to?"}, {"role": "user", "content": words}]


def mixed(count: int) -> list[tuple]:
    """Return talks of several lengths, greedy and drawn ones, that stop early and late."""
    return [(said(WORDS[n % len(WORDS)]), (0, 0.7)[n % 2], n, 5 + 7 * (n % 5)) for n in range(count)]


async def dialogue(model, words: str, seed: int, turns: int = 3) -> list[str]:
    """Return what the model says in a talk in which the customer repeats these words."""
    messages = list(OPENING)
    for _ in range(turns):
        reply = await model.reply(messages, temperature=0.7, seed=seed, max_tokens=12)
        messages += [{"role": "assistant", "content": reply.text}, {"role": "user", "content": words}]
    return [message["content"] for message in messages if message["role"] == "assistant"]


def dialogues(file, count: int, **settings) -> list[list[str]]:
    async def hold():
        async with Sequences(file, **settings) as model:
            return await asyncio.gather(*(dialogue(model, WORDS[n % 3], n) for n in range(count)))

    return asyncio.run(hold())


def test_a_large_model_writes_one_token_at_a_time_and_says_what_gguf_model_says(f16, monkeypatch):
    monkeypatch.setattr("subterra.models.streams.SMALL", 0)
    fed = []
    decode = Streams._decode
    monkeypatch.setattr(Streams, "_decode", lambda one, parts: (fed.extend(parts), decode(one, parts))[1])
    asked = mixed(8)
    with GgufModel(f16) as model:
        alone = [model.reply(m, temperature=t, seed=s, max_tokens=n).text for m, t, s, n in asked]
    assert texts(f16, asked, parallel=4) == alone
    assert all(sure == len(tokens) for _, tokens, _, sure in fed), "nothing is guessed"


def test_a_talk_among_others_gets_what_gguf_model_says(f16):
    asked = mixed(20)
    with GgufModel(f16) as model:
        alone = [model.reply(m, temperature=t, seed=s, max_tokens=n) for m, t, s, n in asked]
    together = answers(f16, asked, parallel=8)
    assert [reply.text for reply in together] == [reply.text for reply in alone] and len(set(texts(f16, asked))) > 9
    for mine, theirs in zip(together, alone, strict=True):
        assert (mine.tokens_in, mine.tokens_out) == (theirs.tokens_in, theirs.tokens_out)


@pytest.mark.parametrize("kind", ["f16", "quantized"])
def test_a_reply_depends_neither_on_who_else_asks_nor_on_the_threads(kind, request):
    file, asked = request.getfixturevalue(kind), mixed(24)
    alone = texts(file, asked, together=False, parallel=1)
    for settings in ({"parallel": 5}, {"parallel": 24}, {"parallel": 9, "threads": 2}, {"parallel": 1}):
        assert texts(file, asked, **settings) == alone
    assert texts(file, asked[::-1], parallel=7) == alone[::-1]


@pytest.mark.parametrize("kind", ["f16", "quantized"])
def test_whole_dialogues_are_the_same_where_there_are_fewer_slots_than_talks(kind, request):
    file = request.getfixturevalue(kind)
    each_alone = [dialogues(file, n + 1, parallel=1)[n] for n in range(7)]
    assert dialogues(file, 7, parallel=7) == dialogues(file, 7, parallel=2, threads=2) == each_alone
    assert len({tuple(turns) for turns in each_alone}) > 3


def test_k_types_say_the_same_where_the_same_is_asked_in_the_same_order(k_type):
    settings = {"parallel": 4, "threads": 2}
    assert texts(k_type, mixed(20), **settings) == texts(k_type, mixed(20), **settings)
    assert dialogues(k_type, 9, **settings) == dialogues(k_type, 9, **settings)


@pytest.mark.parametrize("kind", ["f16", "quantized"])
def test_the_logits_of_a_turn_are_the_same_to_the_last_bit_whatever_is_held_or_read_beside_it(
    kind, request, monkeypatch
):
    file, found, real = request.getfixturevalue(kind), [], Streams._hear

    def hear(self, slot, guessed, row, best):
        if slot.talk.most == 1:
            logits = llama_cpp.llama_get_logits_ith(self._context, row)
            found.append(np.ctypeslib.as_array(logits, (self._width,)).tobytes())
        return real(self, slot, guessed, row, best)

    monkeypatch.setattr(Streams, "_hear", hear)
    first = said("Kyoto, 9 days.")
    (text,) = texts(file, [(first, 0.7, 3, 40)])
    later = [*first, {"role": "assistant", "content": text}, {"role": "user", "content": "Yes."}]
    asked = (later, 0, 0, 1)
    answers(file, [asked])
    answers(file, [(first, 0.7, 3, 40), asked], together=False)
    answers(file, [*mixed(9), asked], parallel=10)
    answers(file, [*[(first, 0.7, seed, 9) for seed in range(5)], asked], parallel=3, threads=2)
    assert len(found) == 4 and len(set(found)) == 1


def batches(monkeypatch) -> list[int]:
    """Return a list that will hold how many tokens each batch has."""
    sizes, real = [], llama_cpp.llama_decode
    monkeypatch.setattr(
        llama_cpp, "llama_decode", lambda ctx, batch: (sizes.append(batch.n_tokens), real(ctx, batch))[1]
    )
    return sizes


def test_the_next_turn_of_a_talk_reads_only_what_is_new(f16, monkeypatch):
    sizes = batches(monkeypatch)
    first = said("to " * 100)
    longer = [*first, {"role": "assistant", "content": "Hm."}, {"role": "user", "content": "Yes."}]
    answers(f16, [(first, 0, 0, 1), (said("Hm?"), 0, 0, 1), (longer, 0, 0, 1)], together=False, parallel=2)
    assert sizes[0] > 200 and sizes[2] < 60


def test_a_system_prompt_that_talks_share_is_read_once(f16, monkeypatch):
    sizes = batches(monkeypatch)
    system = [{"role": "system", "content": "to " * 100}]
    asked = [([*system, {"role": "user", "content": words}], 0, 0, 4) for words in ("Kyoto", "Hm?", "Bali")]
    apart = [texts(f16, [one])[0] for one in asked]
    sizes.clear()
    assert texts(f16, asked, together=False, parallel=4) == apart
    assert sum(size > 100 for size in sizes) == 1


def test_many_are_read_and_written_in_one_batch(f16, monkeypatch):
    sizes = batches(monkeypatch)
    answers(f16, [(said("Hm?"), 0.7, seed, 20) for seed in range(16)], parallel=16)
    assert max(sizes[1:]) >= 4 * 12 and len(sizes) < 16 * 20 / 4


def test_a_reply_tells_tokens_time_and_why_it_ended(f16):
    asked = [(said(words), 0, 0, 9) for words in WORDS]
    together = answers(f16, asked, parallel=4)
    assert all(reply.finish == ("length" if reply.tokens_out == 9 else "stop") for reply in together)
    assert all(0 < reply.busy < reply.seconds and reply.dollars == 0 for reply in together)


def test_a_talk_that_does_not_fit_is_refused_and_the_others_go_on(f16):
    async def ask():
        async with Sequences(f16, parallel=2) as model:
            settings = {"temperature": 0, "seed": 0, "max_tokens": 9}
            waiting = [model.reply(said(words), **settings) for words in ("Hm?", "on and on " * 400, "Hm?")]
            return await asyncio.gather(*waiting, return_exceptions=True)

    first, refused, last = asyncio.run(ask())
    assert isinstance(refused, ContextFull) and "does not fit the context of 512" in str(refused)
    assert first.text == last.text != ""


def test_a_turn_never_runs_over_the_end_of_the_context(f16):
    (reply,) = answers(f16, [(said("to " * 110), 0.7, 1, 10_000)])
    assert reply.tokens_in + reply.tokens_out <= 512


def test_who_stops_waiting_leaves_the_place_to_others(f16):
    async def ask():
        async with Sequences(f16, parallel=2) as model:
            settings = {"temperature": 0.7, "seed": 5, "max_tokens": 400}
            tasks = [asyncio.create_task(model.reply(said("Hm?"), **settings)) for _ in range(4)]
            for _ in range(20):
                await asyncio.sleep(0)
            for task in tasks[:3]:
                task.cancel()
            return (await tasks[3]).text, await model.reply(said("Hm?"), **settings)

    text, later = asyncio.run(ask())
    assert text == later.text


def test_where_llama_cpp_cannot_read_on_the_talk_fails_and_the_next_is_right(f16, monkeypatch):
    (right,) = texts(f16, [(said("Hm?"), 0, 0, 9)])
    real, codes = llama_cpp.llama_decode, iter([1])
    monkeypatch.setattr(llama_cpp, "llama_decode", lambda *call: next(codes, 0) or real(*call))

    async def ask():
        async with Sequences(f16) as model:
            with pytest.raises(SubterraError, match="cannot read on"):
                await model.reply(said("Hm?"), temperature=0, seed=0, max_tokens=9)
            return (await model.reply(said("Hm?"), temperature=0, seed=0, max_tokens=9)).text

    assert asyncio.run(ask()) == right


def test_who_waits_while_the_model_is_closed_is_told(f16):
    async def ask():
        model = Sequences(f16, parallel=1)
        tasks = [asyncio.create_task(model.reply(said("Hm?"), temperature=0.7, seed=1)) for _ in range(3)]
        await asyncio.sleep(0)
        model.close()
        model.close()
        return await asyncio.gather(*tasks, return_exceptions=True)

    assert all("closed" in str(problem) for problem in asyncio.run(ask()))


def test_as_json_nothing_but_an_object_is_written(f16):
    async def ask():
        async with Sequences(f16) as model:
            settings = {"max_tokens": 400, "as_json": True}
            many = [model.reply(said("Hm?"), temperature=t, seed=s, **settings) for t in (0, 1) for s in range(6)]
            return await asyncio.gather(*many)

    replies = asyncio.run(ask())
    assert all(reply.text.startswith("{") for reply in replies)
    assert all(isinstance(json.loads(reply.text), dict) for reply in replies if reply.finish == "stop")


def test_guesses_are_what_followed_last_time():
    guesses = Guesses()
    guesses.learn([1, 2, 3, 4, 5], 0)
    assert guesses.after([9, 2, 3], 2) == [4, 5] and guesses.after([7, 8], 3) == [8, 8, 8]
    guesses.learn([2, 3, 7], 2)
    assert guesses.after([2, 3], 1) == [7] and guesses.after([1, 2, 3], 1) == [4]


def test_a_missing_file_and_one_that_is_no_model_are_one_line(tmp_path):
    with pytest.raises(SubterraError, match="not found; run `make run` first"):
        Sequences(tmp_path / "none.gguf")
    (tmp_path / "broken.gguf").write_bytes(b"GGUF nonsense")
    with pytest.raises(SubterraError, match="cannot load it") as raised:
        Sequences(tmp_path / "broken.gguf")
    assert "\n" not in str(raised.value)


def test_turns_tokenized_apart_are_what_llama_cpp_makes_of_the_whole(f16):
    with GgufModel(f16) as model:
        for words in WORDS * 2:
            text = model.render([*said(words), {"role": "assistant", "content": "<|im_end|>x"}])
            assert model.tokenize(text) == model._llama.tokenize(text.encode(), add_bos=False, special=True)
