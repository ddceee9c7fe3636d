"""Many talks with one GGUF file at once, written side by side by llama.cpp in this process (see models.streams).

Whatever else is asked, before or meanwhile, a talk with an f16 or q8_0 file gets the same turns, to the last bit, on
x86-64. With K types, such as q4_k_m, llama.cpp's last bits follow the batch (logits differ by about 0.00001, and of 48
greedy dialogues 1 in another word), as they may elsewhere. There it is the order of events that keeps results the
same: nothing here looks at a clock to decide, no thread races, and who asks first is first, so that the same talks in
the same order always give the same words.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from subterra.errors import SubterraError
from subterra.models import MOST_TOKENS, ContextFull, Reply
from subterra.models.gguf_text import GgufText
from subterra.models.streams import Guesses, Slot, Streams, Talk, common

QUIET = 3  # rounds of the event loop in which nobody asks: then all that can ask have


class Sequences:
    """A loaded GGUF file that answers many talks at once (a models.Chat). Use it in `async with`, or call `close()`.

    Parameters: path of the file; parallel, the talks that are answered side by side, others wait; n_ctx, the longest
    talk in tokens (never more than the model was trained for); threads of the processor, among which the talks are
    divided. Raises SubterraError where the file is missing or no usable model.
    """

    def __init__(self, path: str | Path, *, parallel: int = 32, n_ctx: int = 2048, threads: int = 1):
        self.path = Path(path)
        self._waiting: list[Talk] = []
        self._streams: list[Streams] = []
        self._guesses = Guesses()
        self._runner: asyncio.Task | None = None
        self._asked = self._begun = 0
        shares = max(1, min(threads, parallel))
        self._model = _load(self.path)
        try:
            self._text = GgufText(self._model, path)
            self.context = min(n_ctx, _library().llama_model_n_ctx_train(self._model) or n_ctx)
            for share in range(shares):
                slots = (parallel + share) // shares
                self._streams.append(Streams(self._model, self._text, slots, self.context, self._guesses))
        except SubterraError:
            self.close()
            raise
        # Each thread has a context of its own, in step with the others: they wait for one another once a step.
        self._threads = ThreadPoolExecutor(shares)

    async def reply(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        temperature: float,
        seed: int,
        max_tokens: int = MOST_TOKENS,
        as_json: bool = False,
    ) -> Reply:
        """Return the agent's next turn; temperature 0 is greedy, else the same seed gives the same turn.

        `as_json` lets the model write nothing but one JSON object. `busy` is the talk's share, by its tokens, of the
        time of each step. Raises ContextFull where the talk does not fit the context.
        """
        if not self._streams:
            raise SubterraError(f"{self.path}: the model was closed; load it again")
        began = time.perf_counter()
        prompt = self._text.tokenize(self._text.render(messages))
        if (room := self.context - len(prompt)) < 1:
            raise ContextFull(
                f"{self.path}: a conversation of {len(prompt)} tokens does not fit the context of "
                f"{self.context}; start over, or load it with a larger one"
            )
        answered = asyncio.get_running_loop().create_future()
        talk = Talk(prompt, min(max_tokens, room), float(temperature), seed, as_json, answered)
        self._waiting.append(talk)
        self._asked += 1
        if self._runner is None or self._runner.done():
            self._runner = asyncio.create_task(self._run())
        try:
            await answered
        except asyncio.CancelledError:
            self._drop(talk)
            raise
        took = time.perf_counter() - began
        words = self._text.words(talk.written)
        return Reply(words, len(prompt), len(talk.written), took, busy=talk.busy, finish=talk.finish)

    def metadata(self, key: str, default: str = "") -> str:
        """Return a string of the file's metadata, such as `subterra.system`."""
        return self._text.metadata(key, default)

    def close(self) -> None:
        """Free the model; whoever still waits is told so."""
        closed = SubterraError(f"{self.path}: the model was closed before it had answered")
        for talk in [*self._waiting, *(slot.talk for slot in self._talking())]:
            if not talk.answered.done():
                talk.answered.set_exception(closed)
        if self._runner and not self._runner.done():
            self._runner.cancel()
        self._waiting.clear()
        for streams in self._streams:
            streams.close()
        self._streams.clear()
        if self._model:
            _library().llama_model_free(self._model)
            self._threads.shutdown()
        self._model = None

    async def __aenter__(self) -> "Sequences":
        return self

    async def __aexit__(self, *_exception) -> None:
        self.close()

    async def _run(self) -> None:
        """Answer until nobody waits."""
        while True:
            await self._all_asked()
            self._place()
            if not self._talking():
                return
            self._step()

    async def _all_asked(self) -> None:
        """Let everyone ask who can, so that batches are full."""
        quiet = 0
        while quiet < QUIET:
            before = self._asked
            await asyncio.sleep(0)
            quiet = 0 if self._asked > before else quiet + 1

    def _place(self) -> None:
        """Give talks slots, first come first served; the rest wait."""
        while self._waiting:
            free = [(streams, slot) for streams in self._streams for slot in streams.slots if not slot.talk]
            if not free:
                return
            talk = self._waiting.pop(0)
            self._begun += 1
            streams, slot = min(free, key=lambda place: self._fitness(talk, *place))
            streams.begin(slot, talk, self._begun)

    def _fitness(self, talk: Talk, streams: Streams, slot: Slot) -> tuple[int, ...]:
        """Return what sorts the best slot to the front: the talk's own, else the one that was left longest ago."""
        held = common(slot.tokens, talk.prompt)
        own = held if held == len(slot.tokens) else 0
        return -own, len(streams.talking), slot.used, slot.number

    def _step(self) -> None:
        """Write on in all talks at once, and answer those that are done."""
        began = time.perf_counter()
        at_work = [streams for streams in self._streams if streams.talking]
        try:
            list(self._threads.map(Streams.step, at_work))
        except Exception as problem:
            for slot in self._talking():
                slot.talk.problem = problem
        talking = self._talking()
        share = (time.perf_counter() - began) / max(1, sum(slot.rows for slot in talking))
        for streams in at_work:
            for slot in streams.talking:
                slot.talk.busy += slot.rows * share
                streams.learn(slot)
                if slot.talk.finish or slot.talk.problem:
                    self._answer(streams, slot)

    def _answer(self, streams: Streams, slot: Slot) -> None:
        talk = slot.talk
        streams.end(slot)
        if talk.answered.done():
            return
        if talk.problem:
            talk.answered.set_exception(talk.problem)
        else:
            talk.answered.set_result(None)

    def _drop(self, talk: Talk) -> None:
        """Forget a talk whose asker has gone."""
        if talk in self._waiting:
            self._waiting.remove(talk)
        for streams in self._streams:
            for slot in streams.talking:
                if slot.talk is talk:
                    streams.end(slot)

    def _talking(self) -> list[Slot]:
        return [slot for streams in self._streams for slot in streams.talking]


def _load(path: Path):
    """Return llama.cpp's pointer to the model. All is on the GPU where llama.cpp was built for one."""
    from subterra.models.llama_log import captured_log

    if not path.is_file():
        raise SubterraError(f"{path}: not found; run `make run` first")
    with captured_log() as log:
        settings = _library().llama_model_default_params()
        settings.n_gpu_layers = -1
        model = _library().llama_model_load_from_file(str(path).encode(), settings)
    if not model:
        raise SubterraError(
            f"{path}: llama.cpp cannot load it ({log[0] if log else 'unknown reason'}); export it again"
        )
    if _library().llama_model_is_recurrent(model) or _library().llama_model_is_hybrid(model):
        _library().llama_model_free(model)
        raise SubterraError(f"{path}: models with a recurrent state cannot talk side by side; use another base")
    return model


def _library():
    import llama_cpp

    return llama_cpp
