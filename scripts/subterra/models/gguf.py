"""A model in a GGUF file, answered by llama.cpp in this process.

One thread by default: small models are faster on one than on several busy ones, and jobs run side by side.
A dialogue keeps its key-value cache from turn to turn; a new dialogue starts from an empty one, so that what
a model says never depends on what it was asked before.
"""

import codecs
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from subterra.errors import SubterraError
from subterra.models import ContextFull, Reply
from subterra.models.gguf_text import GgufText

# llama.cpp's own defaults, written out because results depend on them.
SAMPLING = {"top_k": 40, "top_p": 0.95, "min_p": 0.05, "repeat_penalty": 1.0}
Message = dict[str, Any]


class GgufModel:
    """A loaded GGUF file. Use it as a context manager, or call `close()`.

    Parameters: path of the file; n_ctx, the longest conversation in tokens (never more than the model was
    trained for); threads, of llama.cpp. Raises SubterraError where the file is missing or no usable model.
    """

    def __init__(self, path: str | Path, *, n_ctx: int = 2048, threads: int = 1):
        self.path = Path(path)
        if not self.path.is_file():
            raise SubterraError(f"{path}: not found; run `make run` first")
        self._llama = _load(self.path, n_ctx, threads)
        try:
            self._text = GgufText(self._llama.model, path)
        except SubterraError:
            self.close()
            raise
        self._last: list[Message] = []

    def reply(self, messages: Sequence[Message], *, temperature: float, seed: int, max_tokens: int = 120) -> Reply:
        """Return the agent's next turn; temperature 0 is greedy, else the same seed gives the same turn.

        Raises ContextFull where the conversation does not fit the context.
        """
        began = time.perf_counter()
        prompt = self.tokenize(self.render(messages))
        written = list(self._generate(messages, prompt, temperature, seed, max_tokens))
        return Reply(self._text.words(written), len(prompt), len(written), time.perf_counter() - began)

    def stream(
        self, messages: Sequence[Message], *, temperature: float, seed: int, max_tokens: int = 120
    ) -> Iterator[str]:
        """Yield the agent's next turn as it is written, in whole characters. Raises as `reply` does."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        prompt = self.tokenize(self.render(messages))
        for token in self._generate(messages, prompt, temperature, seed, max_tokens):
            if text := decoder.decode(self._text.piece(token)):
                yield text
        if rest := decoder.decode(b"", final=True):
            yield rest

    @property
    def context(self) -> int:
        """The longest conversation, in tokens."""
        return self._llama.n_ctx()

    def render(self, messages: Sequence[Message]) -> str:
        """Return the prompt that the file's own chat template makes, ready for the agent's turn."""
        return self._text.render(messages)

    def tokenize(self, text: str) -> list[int]:
        """Return token ids, control tokens read as such; nothing is added in front."""
        return self._text.tokenize(text)

    def logits(self, tokens: Sequence[int], after: Sequence[int]):
        """Yield the logits (vocabulary,) after `tokens`, then after each token of `after` in turn."""
        import numpy as np

        self._last = []
        self._llama.reset()
        for step in [list(tokens), *([token] for token in after)]:
            self._llama.eval(step)
            row = _library().llama_get_logits_ith(self._llama.ctx, -1)
            yield np.ctypeslib.as_array(row, (self._llama.n_vocab(),)).copy()

    def metadata(self, key: str, default: str = "") -> str:
        """Return a string of the file's metadata, such as `subterra.system`."""
        return self._text.metadata(key, default)

    def close(self) -> None:
        """Free the model."""
        self._llama.close()

    def __enter__(self) -> "GgufModel":
        return self

    def __exit__(self, *_exception) -> None:
        self.close()

    def _generate(
        self, messages: Sequence[Message], prompt: list[int], temperature: float, seed: int, max_tokens: int
    ) -> Iterator[int]:
        room = self.context - len(prompt)
        if room < 1:
            raise ContextFull(
                f"{self.path}: a conversation of {len(prompt)} tokens does not fit the context of "
                f"{self.context}; start over, or load it with a larger one"
            )
        self._continue_or_forget(messages)
        # llama.cpp takes the largest 32-bit number for "draw a seed yourself".
        self._llama.set_seed(seed % (2**32 - 1))
        tokens = self._llama.generate(prompt, temp=float(temperature), **SAMPLING)
        for _ in range(min(max_tokens, room)):
            token = next(tokens)
            if self._text.ends(token):
                return
            yield token

    def _continue_or_forget(self, messages: Sequence[Message]) -> None:
        """Keep the cache only for the next turn of the same dialogue: llama.cpp finds the common prefix."""
        messages = [dict(message) for message in messages]
        if not (self._last and len(messages) > len(self._last) and messages[: len(self._last)] == self._last):
            self._llama.reset()
        self._last = messages


def _library():
    import llama_cpp

    return llama_cpp


def _load(path: Path, n_ctx: int, threads: int):
    from llama_cpp import Llama

    from subterra.models.llama_log import captured_log

    with captured_log() as log:
        try:
            # All on the GPU where llama.cpp was built for one (CMAKE_ARGS=-DGGML_CUDA=on); else it has no effect.
            how = {"n_threads": threads, "n_threads_batch": threads, "n_gpu_layers": -1}
            llama = Llama(str(path), n_ctx=n_ctx, verbose=False, **how)
        except ValueError:
            reason = log[0] if log else "unknown reason"
            raise SubterraError(f"{path}: llama.cpp cannot load it ({reason}); export it again") from None
    trained = _library().llama_model_n_ctx_train(llama.model)
    if trained and trained < n_ctx:
        llama.close()
        return _load(path, trained, threads)
    return llama
