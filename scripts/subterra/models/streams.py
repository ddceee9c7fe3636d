"""Talks side by side in one llama.cpp context, each in a slot with a key-value cache of its own.

What a talk says must not depend on what else is being said, to the last bit. llama.cpp computes a row of a batch in
the same way only among batches of the same kind, so all batches here are of one kind: at least two tokens of a talk
at once, because the attention of a single one is computed by other code, and rows in fours, because some weights are
multiplied four rows at a time and the rest by other code. The tokens that fill a batch up are guesses at what comes
next. They cost little, and where the model says the same, those turns are ahead by as much: it is the model that
decides, and a wrong guess is forgotten. Slots have caches apart: sums run over a talk's own tokens in their order.

That pays for small models. In one of over SMALL parameters each row costs as much as the next, so a talk writes one
token at a time, the batch is as fast as it can be, and the last bits may follow what else is in it.
"""

import ctypes
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from subterra.errors import SubterraError
from subterra.models.gguf import SAMPLING
from subterra.models.guesses import BEFORE, Guesses

ROWS = 512  # of a batch; a prompt is read in pieces of so many tokens
FOUR = 4
SMALL = 30_000_000
WORTH_COPYING = 64  # tokens: a whole cache is copied, which takes as long as to read some
CELLS = 256  # llama.cpp looks at so many tokens of a cache at a time


@dataclass(eq=False)
class Talk:
    """A turn that is asked for: its prompt, how to draw it, and what is written of it so far."""

    prompt: list[int]
    most: int
    temperature: float
    seed: int
    as_json: bool
    answered: Any  # a future
    written: list[int] = field(default_factory=list)
    finish: str = ""
    problem: SubterraError | None = None
    busy: float = 0.0
    sampler: Any = None


@dataclass(eq=False)
class Slot:
    """A place for a talk. `tokens` are what its cache holds, `next` the token that it does not hold yet."""

    number: int
    tokens: list[int] = field(default_factory=list)
    talk: Talk | None = None
    next: int = -1
    used: int = 0
    rows: int = 0
    learned: int = 0


Part = tuple[Slot, list[int], int, int]  # tokens for a slot, how many of the last to answer, how many are no guess


class Streams:
    """One llama.cpp context of `slots` talks, each of up to `n_ctx` tokens. Close it after use."""

    def __init__(self, model, text, slots: int, n_ctx: int, guesses: Guesses):
        self._model, self._text, self._guesses = model, text, guesses
        self.slots = [Slot(number) for number in range(slots)]
        self._context = _context(model, slots, n_ctx)
        self._memory = _library().llama_get_memory(self._context)
        self._batch = _Batch(max(ROWS, FOUR * slots))
        self._vocabulary = _library().llama_model_get_vocab(model)
        self._width = _library().llama_vocab_n_tokens(self._vocabulary)
        self._rows = FOUR if _library().llama_model_n_params(model) < SMALL else 1  # of a talk in a step

    @property
    def talking(self) -> list[Slot]:
        """The slots with a turn to write."""
        return [slot for slot in self.slots if slot.talk]

    def begin(self, slot: Slot, talk: Talk, now: int) -> None:
        """Give a talk a slot, and there all that it or another slot has read of the talk already."""
        last = len(talk.prompt) - 1  # to be read in any case: its answer is what is wanted
        held = min(common(slot.tokens, talk.prompt), last)
        other = max(self.slots, key=lambda one: common(one.tokens, talk.prompt))
        if (there := min(common(other.tokens, talk.prompt), last)) >= held + WORTH_COPYING:
            _library().llama_memory_seq_cp(self._memory, other.number, slot.number, -1, -1)
            held = there
        slot.tokens = talk.prompt[:held]
        self._forget_after(slot)
        slot.talk, slot.used, slot.next, slot.learned = talk, now, -1, 0
        self._guesses.learn(talk.prompt, held)
        if talk.temperature > 0 or talk.as_json:
            talk.sampler = _sampler(self._vocabulary, talk)

    def learn(self, slot: Slot) -> None:
        """Remember what the last step wrote, for guesses to come."""
        written = slot.talk.written
        fresh = len(written) - slot.learned
        self._guesses.learn([*slot.talk.prompt[-BEFORE:], *written][-fresh - BEFORE :], BEFORE)
        slot.learned = len(written)

    def end(self, slot: Slot) -> None:
        """Take the talk out of its slot, which keeps what it read."""
        if slot.talk.sampler is not None:
            _library().llama_sampler_free(slot.talk.sampler)
        slot.talk.sampler = slot.talk = None

    def step(self) -> None:
        """Read on in the prompts, then write on in every turn that is read; a talk that ends has a `finish`."""
        for slot in self.slots:
            slot.rows = 0
        self._read([slot for slot in self.talking if slot.next < 0])
        self._write([slot for slot in self.talking if slot.next >= 0 and not slot.talk.finish])

    def close(self) -> None:
        """Free the context."""
        for slot in self.talking:
            self.end(slot)
        _library().llama_free(self._context)

    def _read(self, slots: Iterable[Slot]) -> None:
        """Read prompts, filled up with guesses; from the last token on answers are wanted."""
        room, parts = ROWS, []
        for slot in slots:
            rest = slot.talk.prompt[len(slot.tokens) : len(slot.tokens) + room]
            if not rest:
                break
            whole = len(slot.tokens) + len(rest) == len(slot.talk.prompt)
            fed = rest + self._guesses.after(slot.talk.prompt, -len(rest) % self._rows) if whole else rest
            parts.append((slot, fed, self._rows if whole else 0, len(rest)))
            room -= len(fed)
        self._feed(parts)

    def _write(self, slots: Sequence[Slot]) -> None:
        """Write one token of each turn, and more where a guess was right."""
        parts = []
        for slot in slots:
            fed = [slot.next, *self._guesses.after([*slot.tokens[-BEFORE:], slot.next], self._rows - 1)]
            parts.append((slot, fed, self._rows, 1))
        self._feed(parts)

    def _feed(self, parts: list[Part]) -> None:
        """Compute short talks and long ones apart: in a batch all pay for the longest."""
        parts.sort(key=_length)
        for _, alike in groupby(parts, key=_length):
            self._decode(list(alike))

    def _decode(self, parts: list[Part]) -> None:
        self._batch.fill((slot.number, len(slot.tokens), fed, answers) for slot, fed, answers, _ in parts)
        if code := _library().llama_decode(self._context, self._batch.struct):
            self._fail([slot for slot, *_ in parts], code)
            return
        best = self._best(sum(answers for _, _, answers, _ in parts))
        row = answer = 0
        for slot, fed, answers, sure in parts:
            slot.rows += len(fed)
            slot.tokens += fed[:sure]
            if answers:
                guessed = len(fed) - sure
                answer += answers
                self._hear(slot, fed[sure:], row + sure - 1, best[answer - guessed - 1 : answer])
            row += len(fed)

    def _hear(self, slot: Slot, guessed: list[int], row: int, best: Sequence[int]) -> None:
        """Take the model's next token, and those after it as long as it says what was guessed."""
        talk = slot.talk
        for place, greedy in enumerate(best):
            token = greedy
            if talk.sampler is not None:
                token = _library().llama_sampler_sample(talk.sampler, self._context, row + place)
            if self._text.ends(token):
                talk.finish = "stop"
                break
            talk.written.append(token)
            if len(talk.written) == talk.most:
                talk.finish = "length"
                break
            slot.next = token
            if [token] != guessed[place : place + 1]:
                break
            slot.tokens.append(token)
        self._forget_after(slot)

    def _best(self, rows: int) -> list[int]:
        """Return the likeliest token of each answered row."""
        import numpy as np

        if not rows:
            return []
        logits = _library().llama_get_logits(self._context)
        return np.ctypeslib.as_array(logits, (rows, self._width)).argmax(axis=1).tolist()

    def _fail(self, slots: Sequence[Slot], code: int) -> None:
        for slot in slots:
            slot.tokens = []
            self._forget_after(slot)
            slot.talk.problem = SubterraError(f"llama.cpp cannot read on (code {code}); ask for fewer talks at once")

    def _forget_after(self, slot: Slot) -> None:
        _library().llama_memory_seq_rm(self._memory, slot.number, len(slot.tokens), -1)


class _Batch:
    """A llama_batch whose arrays are numpy's, so that a step fills them at once."""

    def __init__(self, rows: int):
        import numpy as np

        self._token, self._pos, self._count, self._number = (np.zeros(rows, np.int32) for _ in range(4))
        self._answered = np.zeros(rows, np.int8)
        self._count[:] = 1
        self._numbers = self._number.ctypes.data + 4 * np.arange(rows, dtype=np.uint64)
        names = {"token": self._token, "pos": self._pos, "n_seq_id": self._count}
        names |= {"seq_id": self._numbers, "logits": self._answered}
        self.struct = _library().llama_batch(n_tokens=0, embd=None)
        kinds = dict(self.struct._fields_)
        for name, array in names.items():
            setattr(self.struct, name, ctypes.cast(array.ctypes.data, kinds[name]))

    def fill(self, parts: Iterable[tuple[int, int, list[int], int]]) -> None:
        """Take (slot, position of the first token, tokens, how many of the last ones are to be answered)."""
        row = 0
        for number, begin, fed, answers in parts:
            end = row + len(fed)
            self._token[row:end] = fed
            self._pos[row:end] = range(begin, begin + len(fed))
            self._number[row:end] = number
            self._answered[row:end] = 0
            self._answered[end - answers : end] = 1
            row = end
        self.struct.n_tokens = row


def common(left: Sequence[int], right: Sequence[int]) -> int:
    """Return how many tokens two lists have in common from the front.

    >>> common([1, 2, 3, 4], [1, 2, 4])
    2
    """
    low, high = 0, min(len(left), len(right))
    if left[:high] == right[:high]:
        return high
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (middle, high) if left[low:middle] == right[low:middle] else (low, middle)
    return low


def _length(part: Part) -> int:
    return -(-(len(part[0].tokens) + len(part[1])) // CELLS)


def _sampler(vocabulary, talk: Talk):
    """Return llama.cpp's chain of samplers that draws as GgufModel does; for JSON, only from what may follow."""
    api = _library()
    chain = api.llama_sampler_chain_init(api.llama_sampler_chain_default_params())
    links = []
    if talk.as_json:
        from llama_cpp.llama_grammar import JSON_GBNF

        links.append(api.llama_sampler_init_grammar(vocabulary, JSON_GBNF.encode(), b"root"))
    if talk.temperature > 0:
        links.append(api.llama_sampler_init_top_k(SAMPLING["top_k"]))
        links.append(api.llama_sampler_init_top_p(SAMPLING["top_p"], 1))
        links.append(api.llama_sampler_init_min_p(SAMPLING["min_p"], 1))
        links.append(api.llama_sampler_init_temp(talk.temperature))
        # llama.cpp takes the largest 32-bit number for "draw a seed yourself".
        links.append(api.llama_sampler_init_dist(talk.seed % (2**32 - 1)))
    else:
        links.append(api.llama_sampler_init_greedy())
    for link in links:
        api.llama_sampler_chain_add(chain, link)
    return chain


def _context(model, slots: int, n_ctx: int):
    """Return a context with a cache of `n_ctx` tokens, and room for guesses, for each slot."""
    settings = _library().llama_context_default_params()
    settings.n_ctx, settings.n_seq_max = (n_ctx + FOUR) * slots, slots
    settings.n_batch = settings.n_ubatch = max(ROWS, FOUR * slots)
    settings.n_threads = settings.n_threads_batch = 1
    settings.kv_unified, settings.no_perf = False, True
    settings.flash_attn_type = 0  # its code for one token and for many differs
    context = _library().llama_init_from_model(model, settings)
    if not context:
        raise SubterraError(f"llama.cpp has no room for {slots} talks of {n_ctx} tokens; ask for fewer at once")
    return context


def _library():
    import llama_cpp

    return llama_cpp
