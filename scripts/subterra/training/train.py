"""Fine-tuning on the agent's turns: packed rows, the best checkpoint by held-out loss, and going on after a kill."""

import contextlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.utils.data import Subset
from transformers import AutoConfig, IntervalStrategy

from subterra import records
from subterra.code import code_digest, folder_digest
from subterra.dialogue import messages
from subterra.errors import SubterraError
from subterra.text import canonical, digest, pretty, write_whole
from subterra.training import tokens
from subterra.training.curve import draw_curve, losses
from subterra.training.epochs import Epochs
from subterra.training.launch import launch
from subterra.training.lora import LORA_WARNING, with_lora
from subterra.training.memory import keep_freed_memory
from subterra.training.model import base_files, has_weights, interpolate_head, load_model, merged, save_model
from subterra.training.replicas import Averaged, followers
from subterra.training.template import fit_template
from subterra.training.trainer import (
    RowTrainer,
    Spread,
    Told,
    arguments_of,
    last_whole,
    parameters,
    run_facts,
    trainer_of,
)

PROBES = 50  # conversations that the template has to write before training begins


@dataclass(frozen=True)
class Task:
    """One fine-tuning, as every process of it is told: files, what shapes the model, and where it goes on."""

    train: str
    valid: str
    out: str
    out_json: str
    out_loss: str
    out_curve: str
    system: str
    free: dict[str, list[str]]
    base: str
    settings: dict
    seed: int
    checkpoints: str
    threads: int
    weights: str  # a folder: the base's own, or what it begins with where it has none


def train_model(
    train: str | Path,
    valid: str | Path,
    out: str | Path,
    *,
    out_json: str | Path,
    out_loss: str | Path,
    out_curve: str | Path,
    system: str,
    free: Mapping[str, Sequence[str]],
    base: str,
    settings: Mapping[str, Any],
    seed: int,
    checkpoints: str | Path,
    threads: int,
) -> dict:
    """Fine-tune `base` on the conversations of two Parquet files and write the best model as a Hugging Face folder.

    `free` are the values of the variables that decide nothing (config: unheard_values). `base` is a folder or a Hugging
    Face id; a folder without weights starts from random ones. Checkpoints lie in `checkpoints` under a digest of all
    that shapes the run, so that the same run goes on where it was killed, and another one never does. `settings` is the
    config's section `training`; where it asks for several processes, or for DeepSpeed, they are started here. Returns
    what `out_json` says.
    Raises SubterraError for a base that cannot be loaded, or a template that cannot write the conversations.
    """
    if settings["method"] == "lora":
        print(LORA_WARNING, file=sys.stderr)
    folder = base_files(base)  # fetched once, not by every process
    with _beginning(folder, seed, Path(checkpoints)) as weights:
        files = [str(name) for name in (train, valid, out, out_json, out_loss, out_curve)]
        pools = {name: list(pool) for name, pool in free.items()}
        task = Task(*files, system, pools, base, dict(settings), seed, str(checkpoints), threads, weights)
        if settings["nodes"] * settings["processes"] == 1 and settings["sharding"] == "none":
            work(task)
        else:
            launch(asdict(task), settings["nodes"], settings["processes"], threads)
    return json.loads(Path(out_json).read_text(encoding="utf-8"))


@contextlib.contextmanager
def _beginning(folder: str, seed: int, checkpoints: Path) -> Iterator[str]:
    """Give a folder of weights to begin with: the base's own, or random ones that every process then has alike."""
    if has_weights(folder):
        yield folder
        return
    checkpoints.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=checkpoints, prefix=".random.") as place:
        transformers.set_seed(seed)
        load_model(folder).save_pretrained(place)
        yield place


@dataclass(frozen=True)
class Ready:
    """A fine-tuning that can begin: its Trainer, what it reads, where it goes on, and what is told of that."""

    trainer: RowTrainer
    rows: tokens.PackedRows
    tokenizer: Any
    run: Path  # where its checkpoints lie
    reached: str | None  # the checkpoint that it goes on from
    facts: dict


def work(task: Task) -> None:
    """Train, as one process or as one of several, and write what came out of it."""
    began = time.monotonic()
    others = Spread.of(task.settings, task.base).replicas - 1
    with followers(asdict(task), others, max(1, task.threads // (1 + others))) as found:
        this = ready(task)
        trainer = this.trainer
        for follower in found:
            follower.begin(this.reached)
        if found:
            trainer.add_callback(Averaged(found))
        trainer.train(resume_from_checkpoint=this.reached)
    state = trainer.accelerator.get_state_dict(trainer.model_wrapped)  # every process takes part
    if trainer.is_world_process_zero():
        _write(task, trainer, state, this.tokenizer, this.facts | run_facts(trainer, began, this.rows.seen))
        shutil.rmtree(this.run, ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    trainer.accelerator.end_training()


def follow(task: Task, replica: int, first: Connection) -> None:
    """Train as another replica than the first one, which measures, keeps and writes for all."""
    this = ready(task, replica)
    trainer = this.trainer
    trainer.args.eval_strategy = trainer.args.save_strategy = IntervalStrategy.NO
    trainer.args.load_best_model_at_end = False
    trainer.remove_callback(Told)
    trainer.add_callback(Averaged(first=first))
    trainer.train(resume_from_checkpoint=first.recv())


def ready(task: Task, replica: int = 0) -> Ready:
    """Read the conversations and the model, and make the Trainer."""
    settings, spread = task.settings, Spread.of(task.settings, task.base)
    prepare(max(1, task.threads // (settings["processes"] * spread.replicas)), task.seed)
    folder = base_files(task.base)
    tokenizer = tokens.load_tokenizer(folder)
    longest = AutoConfig.from_pretrained(folder).max_position_embeddings
    fitted, conversations, measured = _read(task, tokenizer)
    size = settings["tokens_per_step"] // spread.rows_per_step
    read = Epochs(conversations, task.free, task.system, tokenizer, task.base, settings, task.seed, size, longest)
    least, several = settings["least_steps"] * spread.rows_per_step, spread.rows_per_step * spread.replicas
    rows = tokens.PackedRows(read, size, settings["epochs"], task.seed, least, several)
    own = Subset(rows, range(replica, len(rows), spread.replicas))
    learned, rehearsed = rows.epochs[0][: len(read.conversations)], rows.epochs[0][len(read.conversations) :]
    measured = tokens.encode_all(tokenizer, task.system, measured, longest)
    held_out = tokens.PackedRows(lambda *_: measured, size, 1, task.seed)
    shape = [folder_digest(task.base), (Path(folder) / "config.json").read_text(), code_digest(__name__)]
    followed = [task.free, canonical(settings), task.seed]  # all that other epochs follow from, beside the first
    run = Path(task.checkpoints) / digest([rows.epochs[0], measured, task.base, *followed, *shape])
    arguments = arguments_of(settings, spread, len(own), task.seed, run)
    with arguments.main_process_first(local=False):
        reached = None if replica else last_whole(run)
    label = f"{Path(task.out).parent.name}, training"
    trainer = trainer_of(_model(task.weights, spread, settings), arguments, own, held_out, settings, label)
    facts = {
        "base": task.base,
        "template": "; ".join(fitted) or "as it is",
        "method": settings["method"],
        **({"warning": LORA_WARNING} if settings["method"] == "lora" else {}),
        "optimizer": settings["optimizer"],
        "sharding": spread.sharding,
        "processes": spread.processes,
        "replicas": spread.replicas,
        "conversations": len(conversations),
        "tokens": sum(len(one["input_ids"]) for one in learned),
        "rehearsed_tokens": sum(len(one["input_ids"]) for one in rehearsed),
        "agent_tokens": sum(label != tokens.IGNORED for one in learned for label in one["labels"]),
        "epochs": round(rows.seen / rows.tokens, 2),
        "row_fill": round(rows.seen / (size * len(rows)), 4),
    }
    return Ready(trainer, rows, tokenizer, run, reached, facts)


def _read(task: Task, tokenizer) -> tuple[list[str], list[dict], list[dict]]:
    """Return (what the template needed, conversations to learn from, conversations to measure on)."""
    learned, measured = (records.read_table(file, records.CONVERSATION) for file in (task.train, task.valid))
    if not (learned and measured):
        raise SubterraError(
            f"{task.train}, {task.valid}: no conversations to learn from or to measure on: ask for more of them"
        )
    fitted = fit_template(tokenizer, [messages(task.system, row["turns"]) for row in _probes(learned)])
    return fitted, learned, measured


def _write(task: Task, trainer, state: Mapping[str, torch.Tensor], tokenizer, facts: dict) -> None:
    """Write the model, and what is told of it."""
    if task.settings["method"] == "lora":
        transformers.integrations.unset_hf_deepspeed_config()
        whole = merged(task.weights, task.settings["lora"], state)
        facts["parameters"] = parameters(whole)
        save_model(whole, tokenizer, Path(task.out))
    else:
        if task.settings["head_interpolation"] and has_weights(base_files(task.base)):
            interpolate_head(trainer.model, state, task.weights, task.settings["head_interpolation"])
        save_model(trainer.model, tokenizer, Path(task.out), state if task.settings["sharding"] != "none" else None)
    history = losses(trainer.state.log_history)
    records.write_table(history, records.LOSS, task.out_loss)
    draw_curve(history, task.out_curve)
    write_whole(task.out_json, pretty(facts))


def _probes(rows: Sequence[Mapping]) -> list[Mapping]:
    """Return a few conversations of every kind: the first ones, and the first with a call."""
    calling = next(([row] for row in rows if any(turn.get("call") for turn in row["turns"])), [])
    return [*rows[:PROBES], *calling]


def prepare(threads: int, seed: int) -> None:
    """Make this process ready to train."""
    keep_freed_memory()
    torch.set_num_threads(threads)
    transformers.set_seed(seed)


def _model(weights: str, spread: Spread, settings: Mapping):
    """Return the model to train, in bf16 where float32 weights are kept elsewhere (DeepSpeed) or not at all (LoRA)."""
    half = spread.bf16 and (spread.sharding != "none" or settings["method"] == "lora")
    model = load_model(weights, torch.bfloat16 if half else torch.float32)
    if settings["method"] == "lora":
        model = with_lora(model, settings["lora"])
        if spread.gradient_checkpointing:
            model.enable_input_require_grads()
    return model
