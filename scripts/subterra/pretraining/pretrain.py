"""The embedded base: a small model pretrained on the endless corpus, to be fine-tuned on any procedure."""

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from subterra import records
from subterra.code import code_digest
from subterra.dialogue import messages
from subterra.pretraining import induction
from subterra.pretraining.corpus import corpus_digest, stream
from subterra.text import digest, pretty, write_whole
from subterra.training import base, tokens
from subterra.training.train import (
    EMBEDDING_STD,
    last_whole,
    load_base,
    losses,
    make_trainer,
    prepare,
    run_facts,
    save_model,
)

SAMPLES_A_ROW = 1_000  # more than a row holds: rows draw from parts of the corpus that do not meet
TOKENIZER_SAMPLES = 20_000


class CorpusRows:
    """A data set of rows for a Trainer: row i holds the conversations that fit into `size` tokens, always the same.

    Every token has a label, the customer's as well: to know what may be said next is to know what was meant. What
    counts `value_weight` instead of 1 is a value that the agent says again.
    """

    def __init__(self, tokenizer, seed: int, size: int, rows: int, value_weight: float = 1.0):
        self.tokenizer, self.seed, self.size, self.rows = tokenizer, seed, size, rows
        self.value_weight = value_weight

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, index: int) -> list[tokens.Encoded]:
        row, room = [], self.size
        for encoded in self._conversations(index * SAMPLES_A_ROW):
            if len(encoded["input_ids"]) > room:
                return row
            row.append(encoded)
            room -= len(encoded["input_ids"])
        raise AssertionError("the corpus is endless")

    def _conversations(self, first: int) -> Iterator[tokens.Encoded]:
        for talk in stream(self.seed, first):
            text = self.tokenizer.apply_chat_template(messages(talk["system"], talk["turns"]), tokenize=False)
            encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
            ids = encoded["input_ids"]
            if len(ids) <= self.size:
                weights = self._weights(talk["turns"], text, encoded["offset_mapping"])
                yield {"input_ids": ids, "labels": ids, "weights": weights}

    def _weights(self, turns: Sequence[Mapping], text: str, offsets: Sequence[tuple[int, int]]) -> list[float]:
        weights, end = [1.0] * len(offsets), 0
        for turn in turns:
            begin = text.index(turn["content"], end)
            end = begin + len(turn["content"])
            again = turn["values"] if turn["role"] == "assistant" else []
            for place in tokens.within(offsets, tokens.said(text, (begin, end), again)):
                weights[place] = self.value_weight
        return weights


def pretrain(
    out: str | Path,
    *,
    out_json: str | Path,
    out_loss: str | Path,
    settings: Mapping[str, Any],
    seed: int,
    checkpoints: str | Path,
    threads: int,
) -> dict:
    """Learn a tokenizer and a model from the corpus and write a Hugging Face folder, its weights in bf16.

    `settings` holds `shape` (what differs from base.LLAMA), `vocabulary`, `digits`, `steps`, `held_out_rows` and
    what training takes. The model begins with an induction head (see induction.py). The same run goes on where it was
    killed. Returns what `out_json` says.
    """
    began = time.monotonic()
    prepare(threads, seed)
    run = Path(checkpoints) / digest([dict(settings), seed, corpus_digest(), code_digest(__name__)])
    if not (run / "base" / "config.json").is_file():
        talks = islice(stream(seed), TOKENIZER_SAMPLES)
        texts = (text for talk in talks for text in [talk["system"], "system\n", *base.spoken(talk["turns"])])
        base.write_base(run / "base", texts, settings["vocabulary"], settings["digits"], **settings["shape"])
    model, tokenizer = load_base(str(run / "base"))
    induction.install(model, EMBEDDING_STD)
    size = settings["tokens_per_step"]
    rows = CorpusRows(tokenizer, seed, size, settings["steps"], settings["value_weight"])
    held_out = CorpusRows(tokenizer, seed + 1, size, settings["held_out_rows"])
    trainer = make_trainer(model, rows, held_out, settings, seed, run / "checkpoints")
    trainer.train(resume_from_checkpoint=last_whole(run / "checkpoints"))
    save_model(trainer.model.to(torch.bfloat16), tokenizer, Path(out))
    records.write_table(losses(trainer.state.log_history), records.LOSS, out_loss)
    facts = {"tokens": len(rows) * size, **run_facts(trainer, began)}
    write_whole(out_json, pretty(facts))
    shutil.rmtree(run, ignore_errors=True)
    return facts
