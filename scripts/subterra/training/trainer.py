"""The Trainer of packed rows: what a step is, what is told on the way, and which checkpoints are kept.

A step reads `rows_per_step` rows, spread over the processes and, where those are fewer, over steps of accumulation; its
loss is the mean of theirs, however they are spread. So any number of processes learns the same.
"""

import json
import resource
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import Trainer, TrainerCallback, TrainingArguments

from subterra import progress
from subterra.config import replicas_for
from subterra.training import tokens
from subterra.training.halves import SIZE_STEP, cpu_has_bf16, write_halves
from subterra.training.lanes import Lanes, lanes_for
from subterra.training.loss import weighted_loss
from subterra.training.optimizer import optimizer

STATE = "trainer_state.json"
DEEPSPEED = Path(__file__).resolve().parents[3] / "config" / "deepspeed"


@dataclass(frozen=True)
class Spread:
    """How training is spread over processes, and what each of them does without to need less memory."""

    processes: int = 1
    rows_per_step: int = 1
    replicas: int = 1
    sharding: str = "none"
    gradient_checkpointing: bool = False
    precision: str = "auto"

    @classmethod
    def of(cls, settings: Mapping[str, Any], base: str) -> "Spread":
        """Return the spread that the config's section `training` asks for, of a base; a GPU trains one replica."""
        same = {key: settings[key] for key in ("rows_per_step", "sharding", "gradient_checkpointing", "precision")}
        replicas = 1 if torch.cuda.is_available() else replicas_for(settings, base)
        return cls(processes=settings["nodes"] * settings["processes"], replicas=replicas, **same)

    @property
    def bf16(self) -> bool:
        """Whether matrices are multiplied in bf16."""
        return has_bf16() if self.precision == "auto" else self.precision == "bf16"

    def deepspeed(self) -> dict | None:
        """Return DeepSpeed's settings, None where nothing is sharded."""
        if self.sharding == "none":
            return None
        return json.loads((DEEPSPEED / f"{self.sharding}.json").read_text(encoding="utf-8"))


def has_bf16() -> bool:
    """Say whether bf16 is fast here: a GPU or a CPU that multiplies it."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return cpu_has_bf16()


def arguments_of(
    settings: Mapping[str, Any], spread: Spread, rows: int, seed: int, run: Path, readers: int = 0
) -> TrainingArguments:
    """Return what a Trainer is told for so many rows. With ZeRO-3 they must be there before the model is loaded.

    `readers` processes make the rows, ahead of what reads them.
    """
    steps = -(-rows // spread.rows_per_step)
    every = max(1, -(-steps // settings["evaluations"]))
    rise = round(settings["warmup"] * steps)
    fall = min(round(settings["decay"] * steps), steps - rise)
    return TrainingArguments(
        output_dir=str(run),
        per_device_train_batch_size=1,
        per_device_eval_batch_size=1,
        gradient_accumulation_steps=spread.rows_per_step // spread.processes,
        num_train_epochs=1,
        learning_rate=settings["learning_rate"],
        lr_scheduler_type="warmup_stable_decay",
        warmup_steps=rise,
        lr_scheduler_kwargs={"num_decay_steps": fall, "decay_type": "cosine"},
        max_grad_norm=1.0,
        bf16=spread.bf16,
        use_cpu=not torch.cuda.is_available(),
        deepspeed=spread.deepspeed(),
        ddp_find_unused_parameters=False,
        activation_checkpointing=spread.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False},
        eval_strategy="steps",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=1,
        load_best_model_at_end=True,
        metric_for_best_model="loss",
        logging_steps=max(1, steps // 200),
        logging_first_step=True,
        train_sampling_strategy="sequential",
        remove_unused_columns=False,
        prediction_loss_only=True,
        dataloader_pin_memory=False,
        dataloader_num_workers=readers,
        dataloader_persistent_workers=readers > 0,
        logging_nan_inf_filter=False,  # it would wait for the GPU at every step
        disable_tqdm=True,
        report_to="none",
        seed=seed,
    )


def make_trainer(
    model,
    rows,
    held_out,
    settings: Mapping[str, Any],
    seed: int,
    run: Path,
    spread: Spread | None = None,
    readers: int = 0,
) -> "RowTrainer":
    """Return a Trainer over two data sets of rows that keeps its last and its best checkpoint in `run`."""
    arguments = arguments_of(settings, spread or Spread(), len(rows), seed, run, readers)
    return trainer_of(model, arguments, rows, held_out, settings)


def trainer_of(
    model, arguments: TrainingArguments, rows, held_out, settings: Mapping[str, Any], label: str = "training"
) -> "RowTrainer":
    """Return a Trainer over two data sets of rows, with the optimizer that the settings name.

    `label` is what the run is called in what is told on the way.
    """
    trainer = RowTrainer(
        model=model,
        args=arguments,
        train_dataset=rows,
        eval_dataset=held_out,
        data_collator=tokens.collate,
        callbacks=[Told(label)],
    )
    trainer.settings = settings
    on_cpu = arguments.device.type == "cpu"
    if on_cpu and arguments.bf16:
        write_halves(model)
        trainer.size_step = SIZE_STEP
    if on_cpu and arguments.world_size == 1 and not arguments.deepspeed:
        trainer.lanes = lanes_for(
            settings["tokens_per_step"] // arguments.gradient_accumulation_steps, trainer.size_step
        )
    trainer.loss_is_scaled_for_ga = False
    trainer.pop_callback(transformers.PrinterCallback)
    return trainer


class RowTrainer(Trainer):
    """A Trainer of packed rows, whose labels have weights."""

    settings: Mapping[str, Any]
    lanes: Lanes | None = None
    size_step = 1

    def create_optimizer(self, model=None):
        """Return the optimizer of the settings, made when it is first asked for."""
        if self.optimizer is None:
            names = ("optimizer", "learning_rate", "weight_decay", "embedding_rate")
            name, rate, decay, share = (self.settings[key] for key in names)
            self.optimizer = optimizer(name, model or self.model, rate, decay, share)
        return self.optimizer

    def training_step(self, model, inputs, num_items_in_batch=None):
        """Compute the gradients of a batch, in lanes where there are any; returns its loss."""
        if self.lanes is None:
            return super().training_step(model, inputs, num_items_in_batch)
        model.train()
        return self.lanes.backward(model, inputs, 1 / self.current_gradient_accumulation_steps)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Return the loss; there are no outputs to return, since nothing looks at them."""
        loss = weighted_loss(model, inputs, self.size_step)
        return (loss, {}) if return_outputs else loss

    def _save_rng_state(self, output_dir):
        # Last of what every process writes; the file that says a checkpoint is whole comes after it.
        super()._save_rng_state(output_dir)
        self.accelerator.wait_for_everyone()


class Told(TrainerCallback):
    """Tells the step, the losses and the time left: at every held-out measurement, and once a minute."""

    def __init__(self, label: str):
        self.label = label

    def on_train_begin(self, args, state, control, **_):
        self.began = self.told = time.monotonic()
        self.first, self.loss = state.global_step, None
        if self.first and state.is_world_process_zero:
            print(
                f"{self.label} goes on from step {self.first:,} of {state.max_steps:,}",
                file=sys.stderr,
                flush=True,
            )

    def on_train_end(self, args, state, control, **_):
        self.seconds, self.steps = time.monotonic() - self.began, state.global_step - self.first

    def on_log(self, args, state, control, logs, **_):
        self.loss = logs.get("loss", self.loss)
        now = time.monotonic()
        if state.is_world_process_zero and ("eval_loss" in logs or now - self.told >= progress.EVERY):
            self.told = now
            self._tell(state, logs.get("eval_loss"))

    def _tell(self, state, held_out: float | None) -> None:
        seconds = time.monotonic() - self.began
        done = state.global_step - self.first
        text = progress.line(f"{self.label}, step", done, state.max_steps - self.first, seconds)
        text += f", loss {self.loss:.3f}" if self.loss is not None else ""
        text += f", held out {held_out:.4f}" if held_out is not None else ""
        print(text, file=sys.stderr, flush=True)


def run_facts(trainer: Trainer, began: float, tokens_read: int) -> dict:
    """Return what is told of a finished run: parameters, precision, steps, the best one, its loss, speed and memory.

    `tokens_read` are those of all steps. Tokens a second are those of the steps since it began or went on, held-out
    measurements among the time; memory is the peak of this process, on its GPU where it has one.
    """
    told = next(one for one in trainer.callback_handler.callbacks if isinstance(one, Told))
    here = tokens_read * told.steps / max(1, trainer.state.max_steps)
    return {
        "tokens_per_second": round(here / told.seconds) if told.steps else None,
        "peak_gib": round(peak_bytes() / 2**30, 2),
        "parameters": parameters(trainer.model),
        "trained_parameters": parameters(trainer.model, trained=True),
        "precision": "bf16" if trainer.args.bf16 else "fp32",
        "steps": trainer.state.max_steps,
        "best_step": trainer.state.best_global_step,
        "valid_loss": trainer.state.best_metric,
        "seconds": round(time.monotonic() - began, 1),
    }


def peak_bytes() -> int:
    """Return the most memory that this process has held at once, in bytes: its GPU's, or without one its own."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def parameters(model, trained: bool = False) -> int:
    """Return how many parameters a model has, or how many are trained, whether they are spread by ZeRO-3 or not."""
    every = (one for one in model.parameters() if one.requires_grad or not trained)
    return sum(getattr(one, "ds_numel", one.numel()) for one in every)


def last_whole(run: Path) -> str | None:
    """Return the last checkpoint that was written to its end; torn ones are removed."""
    whole = []
    for folder in run.glob("checkpoint-*"):
        try:
            transformers.TrainerState.load_from_json(str(folder / STATE))
            whole.append(folder)
        except (OSError, ValueError):
            shutil.rmtree(folder)
    return str(max(whole, key=lambda folder: int(folder.name.split("-")[1]))) if whole else None
