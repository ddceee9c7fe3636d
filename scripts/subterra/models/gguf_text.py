"""How a GGUF file turns a talk into tokens and tokens into words: its metadata, chat template and vocabulary."""

import ctypes
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from subterra.errors import SubterraError

KEPT = 20_000  # tokenized pieces
Message = Mapping[str, Any]


class GgufText:
    """The text side of a loaded model. Raises SubterraError where the file has no chat template.

    Parameters: model, llama.cpp's pointer; path, for messages.
    """

    def __init__(self, model, path: str | Path):
        self._model, self._vocabulary = model, _library().llama_model_get_vocab(model)
        self._pieces: dict[int, bytes] = {}
        self._known: dict[str, list[int]] = {}
        self._template = self._chat_template(path)
        ends = {self._text(token) for token in self._ends()} - {""}
        # A turn ends with a token of its own, so that what stands before and behind it can be tokenized apart.
        self._cut = re.compile("|".join(f"(?={re.escape(end)})" for end in sorted(ends)) or "$.")

    def metadata(self, key: str, default: str = "") -> str:
        """Return a string of the file's metadata, such as `subterra.system`."""
        size = _library().llama_model_meta_val_str(self._model, key.encode(), None, 0)
        if size < 0:
            return default
        buffer = ctypes.create_string_buffer(size + 1)
        _library().llama_model_meta_val_str(self._model, key.encode(), buffer, size + 1)
        return buffer.value.decode("utf-8", "replace")

    def render(self, messages: Sequence[Message]) -> str:
        """Return the prompt that the file's own chat template makes, ready for the agent's turn."""
        return self._template.render(messages=list(messages), add_generation_prompt=True)

    def tokenize(self, text: str) -> list[int]:
        """Return token ids, control tokens read as such; nothing is added in front. Turns seen before cost nothing."""
        tokens: list[int] = []
        for piece in self._cut.split(text):
            if piece not in self._known:
                if len(self._known) >= KEPT:
                    self._known.clear()
                self._known[piece] = self._tokenized(piece.encode())
            tokens += self._known[piece]
        return tokens

    def words(self, tokens: Iterable[int]) -> str:
        """Return what a turn of these tokens says."""
        return b"".join(map(self.piece, tokens)).decode("utf-8", "replace").strip()

    def piece(self, token: int) -> bytes:
        """Return the bytes of a token; a letter may have several tokens."""
        if token not in self._pieces:
            buffer = ctypes.create_string_buffer(1024)
            size = _library().llama_token_to_piece(self._vocabulary, token, buffer, 1024, 0, False)
            self._pieces[token] = buffer.raw[: max(size, 0)]
        return self._pieces[token]

    def ends(self, token: int) -> bool:
        """Tell whether a token ends the turn."""
        return _library().llama_vocab_is_eog(self._vocabulary, token)

    def _tokenized(self, text: bytes) -> list[int]:
        room = len(text) + 8
        tokens = (ctypes.c_int32 * room)()
        return tokens[: _library().llama_tokenize(self._vocabulary, text, len(text), tokens, room, False, True)]

    def _ends(self) -> tuple[int, int]:
        return _library().llama_vocab_eos(self._vocabulary), _library().llama_vocab_eot(self._vocabulary)

    def _chat_template(self, path: str | Path):
        """Return the file's chat template, compiled as transformers does it, so that both write the same."""
        template = self.metadata("tokenizer.chat_template")
        if not template:
            raise SubterraError(f"{path}: no chat template inside; export the model with one")
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = lambda value, **settings: json.dumps(value, ensure_ascii=False, **settings)
        bos, eos = _library().llama_vocab_bos(self._vocabulary), _library().llama_vocab_eos(self._vocabulary)
        environment.globals |= {"bos_token": self._text(bos), "eos_token": self._text(eos)}
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
        return environment.from_string(template)

    def _text(self, token: int) -> str:
        known = token >= 0
        return _library().llama_vocab_get_text(self._vocabulary, token).decode() if known else ""


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)


def _library():
    import llama_cpp

    return llama_cpp
