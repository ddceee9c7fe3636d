"""Fine-tuning on the agent's turns: packed rows, the best checkpoint by held-out loss, and going on after a kill."""

import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments

from subterra import progress, records
from subterra.code import code_digest, folder_digest
from subterra.errors import SubterraError
from subterra.pretraining.rows import rehearsal
from subterra.text import canonical, digest, pretty, write_whole
from subterra.training import attention, tokens
from subterra.training.memory import keep_freed_memory
from subterra.training.optimizer import optimizer

STATE = "trainer_state.json"
# Of a base without weights. At the usual 0.02 a word drowns in what the layers add, and is learned to be repeated late.
EMBEDDING_STD = 0.2


def train_model(
    train: str | Path,
    valid: str | Path,
    out: str | Path,
    *,
    out_json: str | Path,
    out_loss: str | Path,
    out_curve: str | Path,
    system: str,
    base: str,
    settings: Mapping[str, Any],
    seed: int,
    checkpoints: str | Path,
    threads: int,
) -> dict:
    """Fine-tune `base` on the conversations of two Parquet files and write the best model as a Hugging Face folder.

    `base` is a folder or a Hugging Face id; a folder without weights starts from random ones. Checkpoints lie in
    `checkpoints` under a digest of all that shapes the run, so that the same run goes on where it was killed, and
    another one never does. Returns what `out_json` says. Raises SubterraError for a base that cannot be loaded.
    """
    began = time.monotonic()
    prepare(threads, seed)
    model, tokenizer = load_base(base)
    longest = model.config.max_position_embeddings
    encoded = [
        tokens.encode_all(tokenizer, system, records.read_table(file, records.CONVERSATION), longest, weight)
        for file, weight in ((train, settings["value_weight"]), (valid, 1.0))
    ]
    if not all(encoded):
        raise SubterraError(f"{train}, {valid}: no conversations to learn from or to measure on: ask for more of them")
    size = settings["tokens_per_step"]
    rehearsed = _rehearsed(tokenizer, base, settings, seed, min(size, longest), encoded[0])
    rows = tokens.PackedRows([*encoded[0], *rehearsed], size, settings["epochs"], seed, settings["least_steps"])
    held_out = tokens.PackedRows(encoded[1], size, 1, seed)
    shape = [folder_digest(base), canonical(model.config.to_dict()), code_digest(__name__)]
    run = Path(checkpoints) / digest([encoded, rehearsed, base, dict(settings), seed, *shape])
    trainer = make_trainer(model, rows, held_out, settings, seed, run)
    trainer.train(resume_from_checkpoint=last_whole(run))
    history = losses(trainer.state.log_history)
    save_model(trainer.model, tokenizer, Path(out))
    records.write_table(history, records.LOSS, out_loss)
    draw_curve(history, out_curve)
    facts = {
        "base": base,
        "optimizer": settings["optimizer"],
        "conversations": len(encoded[0]),
        "tokens": sum(len(one["input_ids"]) for one in encoded[0]),
        "rehearsed_tokens": sum(len(one["input_ids"]) for one in rehearsed),
        "agent_tokens": sum(label != tokens.IGNORED for one in encoded[0] for label in one["labels"]),
        "epochs": round(rows.seen / rows.tokens, 2),
        "row_fill": round(rows.seen / (size * len(rows)), 4),
        **run_facts(trainer, began),
    }
    write_whole(out_json, pretty(facts))
    shutil.rmtree(run, ignore_errors=True)
    return facts


def _rehearsed(tokenizer, base: str, settings: Mapping, seed: int, longest: int, encoded: Sequence) -> list:
    """Return what is mixed in of the corpus that the base was pretrained on; nothing where that was another one."""
    if not (Path(base) / "pretraining.json").is_file():
        return []
    total = round(settings["rehearsal"] * sum(len(one["input_ids"]) for one in encoded))
    return rehearsal(tokenizer, seed, longest, total)


def prepare(threads: int, seed: int) -> None:
    """Make this process ready to train."""
    keep_freed_memory()
    torch.set_num_threads(threads)
    transformers.set_seed(seed)


def load_base(base: str):
    """Return (model in float32, tokenizer) of a folder or a Hugging Face id; random weights where it has none."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        folder = _fetched(base)
        tokenizer = tokens.load_tokenizer(folder)
        attend = {"attn_implementation": attention.register(), "dtype": torch.float32}
        if any(Path(folder).glob("*.safetensors")):
            return AutoModelForCausalLM.from_pretrained(folder, **attend), tokenizer
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), **attend)
        torch.nn.init.normal_(model.get_input_embeddings().weight, std=EMBEDDING_STD)
        return model, tokenizer
    except (OSError, ValueError, KeyError, SafetensorError) as problem:
        reason = " ".join(str(problem).split())[:200]
        raise SubterraError(f"base: '{base}': no model can be loaded from it ({reason})") from None


def _fetched(base: str) -> str:
    """Return the folder of a base: itself, or what the Hugging Face cache or hub has under its id."""
    if Path(base).is_dir():
        return base
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return snapshot_download(base, local_files_only=True)
    except LocalEntryNotFoundError:
        return snapshot_download(base, allow_patterns=["*.safetensors", "*.json", "*.jinja"])


def has_bf16() -> bool:
    """Say whether bf16 is fast here: any GPU that we train on, or a CPU that multiplies it."""
    return torch.cuda.is_available() or torch.cpu._is_avx512_bf16_supported()


def make_trainer(model, rows, held_out, settings: Mapping[str, Any], seed: int, run: Path) -> Trainer:
    """Return a Trainer over two data sets of rows that keeps its last and its best checkpoint in `run`."""
    every = max(1, -(-len(rows) // settings["evaluations"]))
    rise = round(settings["warmup"] * len(rows))
    fall = min(round(settings["decay"] * len(rows)), len(rows) - rise)
    arguments = TrainingArguments(
        output_dir=str(run),
        per_device_train_batch_size=1,
        per_device_eval_batch_size=1,
        num_train_epochs=1,
        learning_rate=settings["learning_rate"],
        lr_scheduler_type="warmup_stable_decay",
        warmup_steps=rise,
        lr_scheduler_kwargs={"num_decay_steps": fall, "decay_type": "cosine"},
        max_grad_norm=1.0,
        bf16=has_bf16(),
        use_cpu=not torch.cuda.is_available(),
        eval_strategy="steps",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=1,
        load_best_model_at_end=True,
        metric_for_best_model="loss",
        logging_steps=max(1, len(rows) // 200),
        logging_first_step=True,
        train_sampling_strategy="sequential",
        remove_unused_columns=False,
        prediction_loss_only=True,
        dataloader_pin_memory=False,
        disable_tqdm=True,
        report_to="none",
        seed=seed,
    )
    trainer = RowTrainer(
        model=model,
        args=arguments,
        train_dataset=rows,
        eval_dataset=held_out,
        data_collator=tokens.collate,
        optimizers=(
            optimizer(
                settings["optimizer"],
                model,
                settings["learning_rate"],
                settings["weight_decay"],
                settings["embedding_rate"],
            ),
            None,
        ),
        callbacks=[Told()],
    )
    trainer.pop_callback(transformers.PrinterCallback)
    return trainer


def run_facts(trainer: Trainer, began: float) -> dict:
    """Return what is told of a finished run: parameters, precision, steps, the best one, its loss, and seconds."""
    return {
        "parameters": sum(parameter.numel() for parameter in trainer.model.parameters()),
        "precision": "bf16" if has_bf16() else "fp32",
        "steps": trainer.state.max_steps,
        "best_step": trainer.state.best_global_step,
        "valid_loss": trainer.state.best_metric,
        "seconds": round(time.monotonic() - began, 1),
    }


class RowTrainer(Trainer):
    """A Trainer of packed rows, whose labels have weights."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Return the loss; there are no outputs to return, since nothing looks at them."""
        loss = tokens.weighted_loss(model, inputs)
        return (loss, {}) if return_outputs else loss


class Told(TrainerCallback):
    """Tells the step, the losses and the time left: at every held-out measurement, and once a minute."""

    def on_train_begin(self, args, state, control, **_):
        self.began = self.told = time.monotonic()
        self.first, self.loss = state.global_step, None
        if self.first:
            print(
                f"training goes on from step {self.first:,} of {state.max_steps:,}",
                file=sys.stderr,
                flush=True,
            )

    def on_log(self, args, state, control, logs, **_):
        self.loss = logs.get("loss", self.loss)
        now = time.monotonic()
        if "eval_loss" in logs or now - self.told >= progress.EVERY:
            self.told = now
            self._tell(state, logs.get("eval_loss"))

    def _tell(self, state, held_out: float | None) -> None:
        seconds = time.monotonic() - self.began
        done = state.global_step - self.first
        text = progress.line("training, step", done, state.max_steps - self.first, seconds)
        text += f", loss {self.loss:.3f}" if self.loss is not None else ""
        text += f", held out {held_out:.4f}" if held_out is not None else ""
        print(text, file=sys.stderr, flush=True)


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


def losses(log: list[dict]) -> list[dict]:
    """Return the loss rows of a Trainer's log, one a step."""
    found: dict[int, dict] = {}
    for entry in log:
        row = found.setdefault(entry["step"], dict.fromkeys(records.LOSS.names) | {"step": entry["step"]})
        for name, key in (
            ("train_loss", "loss"),
            ("valid_loss", "eval_loss"),
            ("learning_rate", "learning_rate"),
        ):
            row[name] = entry.get(key, row[name])
    return [found[step] for step in sorted(found)]


def draw_curve(history: list[dict], out: str | Path) -> None:
    """Draw the losses over the steps as SVG."""
    import io

    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    for name, label in (("train_loss", "training"), ("valid_loss", "held out")):
        points = [(row["step"], row[name]) for row in history if row[name] is not None]
        axes.plot(*zip(*points, strict=True), marker="o" if name == "valid_loss" else None, label=label)
    axes.set(xlabel="step", ylabel="loss on the agent's turns", yscale="log")
    axes.legend(frameon=False)
    picture = io.BytesIO()
    with rc_context({"svg.hashsalt": "subterra"}):
        figure.savefig(picture, format="svg", metadata={"Date": None})
    write_whole(out, picture.getvalue())


def save_model(model, tokenizer, out: Path) -> None:
    """Write the model folder whole: beside, then renamed."""
    beside = out.with_name(f".{out.name}.new")
    shutil.rmtree(beside, ignore_errors=True)
    model.save_pretrained(beside)
    tokenizer.save_pretrained(beside)
    shutil.rmtree(out, ignore_errors=True)
    beside.replace(out)
