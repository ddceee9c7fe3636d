"""How many tokens of the agent's turns are learned a second, against transformers' Trainer with padded batches.

PYTHONPATH=scripts python benchmarks/training_speed.py results/travel_booking [--base bases/embedded] [--steps 40]

Same base, conversations, optimizer and threads. The Trainer gets what most people give it: batches of eight, padded to
the longest of them, the loss over the whole vocabulary at every place; in float32, which is its default, and in bf16.
Both are timed by turns, so that a busy machine is busy for all of them.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "20000")

import torch
import yaml
from subterra.flowchart import Flowchart
from subterra.records import CONVERSATION, read_table
from subterra.training import tokens
from subterra.training.memory import keep_freed_memory
from subterra.training.model import load_base
from subterra.training.trainer import Spread, has_bf16, make_trainer
from transformers import AutoModelForCausalLM, DataCollatorForSeq2Seq, Trainer, TrainingArguments

ROOT = Path(__file__).resolve().parents[1]
BATCH, ROUNDS, SEED = 8, 3, 1


class Contest:
    """The conversations of a build, and how each of the contenders trains on them."""

    def __init__(self, build: Path, base: str, steps: int):
        self.base, self.steps = base, steps
        self.settings = yaml.safe_load((ROOT / "config" / "config.yaml").read_text(encoding="utf-8"))["training"]
        self.settings |= {"optimizer": "adamw", "evaluations": 1, "tokens_per_step": 4096}
        model, self.tokenizer = load_base(base)
        rows = read_table(build / "dataset" / "train.parquet", CONVERSATION)
        system = Flowchart.read(build / "flowchart.json").system
        self.talks = tokens.encode_all(self.tokenizer, system, rows, model.config.max_position_embeddings)

    def ours(self, folder: Path) -> tuple[Trainer, int]:
        """Return (a trainer of packed rows, agent tokens of its steps)."""
        packed = tokens.PackedRows(lambda *_: self.talks, self.settings["tokens_per_step"], 1, SEED)
        packed.rows = packed.rows[: self.steps]
        model, _ = load_base(self.base)
        trainer = make_trainer(model, packed, packed, self.settings, SEED, folder, Spread())
        return trainer, sum(spoken(talk) for row in packed for talk in row)

    def padded(self, folder: Path, bf16: bool) -> tuple[Trainer, int]:
        """Return (a Trainer of padded batches, agent tokens of its steps)."""
        count = round(self.steps * self.settings["tokens_per_step"] / self.mean_tokens / BATCH) * BATCH
        kept = [{key: talk[key] for key in ("input_ids", "labels")} for talk in self.talks[:count]]
        arguments = TrainingArguments(
            output_dir=str(folder),
            per_device_train_batch_size=BATCH,
            num_train_epochs=1,
            learning_rate=self.settings["learning_rate"],
            bf16=bf16,
            use_cpu=not torch.cuda.is_available(),
            disable_tqdm=True,
            report_to="none",
            seed=SEED,
        )
        model = AutoModelForCausalLM.from_pretrained(self.base, dtype=torch.float32)
        collate = DataCollatorForSeq2Seq(self.tokenizer)
        trainer = Trainer(model=model, args=arguments, train_dataset=kept, data_collator=collate)
        return trainer, sum(map(spoken, self.talks[:count]))

    @property
    def mean_tokens(self) -> float:
        """Tokens of a conversation."""
        return sum(len(talk["input_ids"]) for talk in self.talks) / len(self.talks)


def spoken(talk: tokens.Encoded) -> int:
    """Return how many tokens of a conversation the agent says."""
    return sum(label != tokens.IGNORED for label in talk["labels"])


def rate(prepare: Callable[[Path], tuple[Trainer, int]]) -> float:
    """Return agent tokens learned a second."""
    with tempfile.TemporaryDirectory() as folder:
        trainer, learned = prepare(Path(folder))
        trainer.args.eval_strategy = trainer.args.save_strategy = "no"
        began = time.monotonic()
        trainer.train()
        return learned / (time.monotonic() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("build", type=Path, help="results/{agent} of a finished build")
    parser.add_argument("--base", default=str(ROOT / "bases" / "embedded"))
    parser.add_argument("--steps", type=int, default=40, help="steps of ours, and as many tokens of the others")
    asked = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(os.cpu_count() or 1)
    contest = Contest(asked.build, asked.base, asked.steps)
    contenders = {"ours": contest.ours, "Trainer, padded, fp32": lambda folder: contest.padded(folder, False)}
    if has_bf16():
        contenders["Trainer, padded, bf16"] = lambda folder: contest.padded(folder, True)
    best = dict.fromkeys(contenders, 0.0)
    for _ in range(ROUNDS):
        for name, prepare in contenders.items():
            best[name] = max(best[name], rate(prepare))
    print("| | agent tokens a second | ours is faster |\n| --- | --- | --- |")
    for name, found in best.items():
        print(f"| {name} | {found:,.0f} | {best['ours'] / found:.2f} times |")


if __name__ == "__main__":
    sys.exit(main())
