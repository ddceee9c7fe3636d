"""The embedded base: a small model pretrained on the endless corpus, to be fine-tuned on any procedure."""

import os
import shutil
import time
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from subterra import records
from subterra.code import code_digest
from subterra.pretraining import induction
from subterra.pretraining.corpus import corpus_digest, stream
from subterra.pretraining.rows import CorpusRows
from subterra.text import digest, pretty, write_whole
from subterra.training import base
from subterra.training.curve import losses
from subterra.training.model import EMBEDDING_STD, load_base, save_model
from subterra.training.train import prepare
from subterra.training.trainer import last_whole, make_trainer, run_facts

TOKENIZER_SAMPLES = 20_000


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

    `settings` holds `shape` (what differs from base.LLAMA), `vocabulary`, `digits`, `steps`, `held_out_rows`,
    `induction_head` (see induction.py) and what training takes. The same run goes on where it was
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
    if settings["induction_head"]:
        induction.install(model, EMBEDDING_STD)
    size = settings["tokens_per_step"]
    rows = CorpusRows(tokenizer, seed, size, settings["steps"], settings["value_weight"])
    held_out = CorpusRows(tokenizer, seed + 1, size, settings["held_out_rows"])
    # A GPU reads faster than one core writes; on CPUs, the cores have enough to do.
    readers = max(1, threads - 1) if torch.cuda.is_available() else 0
    if readers:
        os.environ["TOKENIZERS_PARALLELISM"] = "false"  # its threads do not live on in processes that are forked
    trainer = make_trainer(model, rows, held_out, settings, seed, run / "checkpoints", readers=readers)
    trainer.train(resume_from_checkpoint=last_whole(run / "checkpoints"))
    save_model(trainer.model.to(torch.bfloat16), tokenizer, Path(out))
    records.write_table(losses(trainer.state.log_history), records.LOSS, out_loss)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{threads} CPU cores"
    facts = {"device": device, "tokens": len(rows) * size, **run_facts(trainer, began, len(rows) * size)}
    write_whole(out_json, pretty(facts))
    shutil.rmtree(run, ignore_errors=True)
    return facts
