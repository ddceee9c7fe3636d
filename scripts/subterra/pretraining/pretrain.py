"""The embedded base: a small model pretrained on the endless corpus, to be fine-tuned on any procedure."""

import shutil
import time
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import transformers

from subterra import records
from subterra.code import code_digest
from subterra.dialogue import messages
from subterra.pretraining.corpus import corpus_digest, stream
from subterra.text import digest, pretty, write_whole
from subterra.training import base, tokens
from subterra.training.train import last_whole, load_base, losses, make_trainer, run_facts, save_model

SAMPLES_A_ROW = 1_000  # more than a row holds: rows draw from parts of the corpus that do not meet
TOKENIZER_SAMPLES = 20_000


class CorpusRows:
    """A data set of rows for a Trainer: row i holds the conversations that fit into `size` tokens, always the same.

    Every token has a label, the customer's as well: to know what may be said next is to know what was meant.
    """

    def __init__(self, tokenizer, seed: int, size: int, rows: int):
        self.tokenizer, self.seed, self.size, self.rows = tokenizer, seed, size, rows

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, index: int) -> list[tokens.Encoded]:
        row, room = [], self.size
        for ids in self._conversations(index * SAMPLES_A_ROW):
            if len(ids) > room:
                return row
            row.append({"input_ids": ids, "labels": ids, "weights": [1.0] * len(ids)})
            room -= len(ids)
        raise AssertionError("the corpus is endless")

    def _conversations(self, first: int) -> Iterator[list[int]]:
        for talk in stream(self.seed, first):
            text = self.tokenizer.apply_chat_template(messages(talk["system"], talk["turns"]), tokenize=False)
            ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
            if len(ids) <= self.size:
                yield ids


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
    what training takes. The same run goes on where it was killed. Returns what `out_json` says.
    """
    began = time.monotonic()
    torch.set_num_threads(threads)
    transformers.set_seed(seed)
    run = Path(checkpoints) / digest([dict(settings), seed, corpus_digest(), code_digest(__name__)])
    if not (run / "base" / "config.json").is_file():
        talks = islice(stream(seed), TOKENIZER_SAMPLES)
        texts = (text for talk in talks for text in [talk["system"], "system\n", *base.spoken(talk["turns"])])
        base.write_base(run / "base", texts, settings["vocabulary"], settings["digits"], **settings["shape"])
    model, tokenizer = load_base(str(run / "base"))
    size = settings["tokens_per_step"]
    rows = CorpusRows(tokenizer, seed, size, settings["steps"])
    held_out = CorpusRows(tokenizer, seed + 1, size, settings["held_out_rows"])
    trainer = make_trainer(model, rows, held_out, settings, seed, run / "checkpoints")
    trainer.train(resume_from_checkpoint=last_whole(run / "checkpoints"))
    save_model(trainer.model.to(torch.bfloat16), tokenizer, Path(out))
    records.write_table(losses(trainer.state.log_history), records.LOSS, out_loss)
    facts = {"tokens": len(rows) * size, **run_facts(trainer, began)}
    write_whole(out_json, pretty(facts))
    shutil.rmtree(run, ignore_errors=True)
    return facts
