"""How fast a GPU pretrains the embedded base, and what held it back: each row puts one thing back as it was.

PYTHONPATH=scripts python benchmarks/pretraining_speed.py --gpu H100
"""

import argparse
import os
import tempfile
from pathlib import Path
from unittest.mock import patch

import torch
import yaml
from speed import SKIPPED, Clock
from subterra.pretraining.rows import CorpusRows
from subterra.sizing import read_gpus
from subterra.training import attention, optimizer
from subterra.training.model import load_base
from subterra.training.trainer import make_trainer, parameters

ROOT = Path(__file__).resolve().parents[1]
SEED = 11


def tokens_a_second(settings: dict, steps: int, readers: int, filtered: bool = False) -> tuple[float, int]:
    """Return (tokens a second, parameters) of so many steps."""
    model, tokenizer = load_base(str(ROOT / "bases" / "embedded"))
    rows = CorpusRows(tokenizer, SEED, settings["tokens_per_step"], SKIPPED + steps)
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(model, rows, rows, settings, SEED, Path(folder), readers=readers)
        trainer.args.eval_strategy = trainer.args.save_strategy = "no"
        trainer.args.load_best_model_at_end = False
        trainer.args.logging_nan_inf_filter = filtered
        trainer.add_callback(clock)
        trainer.train()
    return steps * settings["tokens_per_step"] / clock.seconds(), parameters(model)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tokens", type=int, nargs="+", default=[65536], help="of a step")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--gpu", default="", help="name in config/gpus.yaml, for the share of its peak")
    asked = parser.parse_args()
    settings = yaml.safe_load((ROOT / "config" / "config.yaml").read_text(encoding="utf-8"))["pretraining"]
    peaks = {gpu.name: gpu.bf16 for gpu in read_gpus(ROOT / "config" / "gpus.yaml")}
    readers = max(1, (os.cpu_count() or 1) - 1)
    print("| tokens a step | | tokens a second | share of the peak |\n| --- | --- | --- | --- |", flush=True)

    def told(size: int, name: str, steps: int, **more) -> None:
        speed, weights = tokens_a_second(settings | {"tokens_per_step": size}, steps, **{"readers": readers} | more)
        share = f"{100 * 6 * weights * speed / (peaks[asked.gpu] * 1e12):.1f} %" if asked.gpu else "-"
        print(f"| {size:,} | {name} | {speed:,.0f} | {share} |", flush=True)

    few = max(1, asked.steps // 4)
    for size in asked.tokens:
        told(size, "as it is", asked.steps)
    size = asked.tokens[-1]
    told(size, "the losses of all steps looked through for what is no number", asked.steps, filtered=True)
    with patch.object(optimizer, "Muon", torch.optim.Muon):
        told(size, "Muon goes through matrices one by one", asked.steps)
    with patch.object(attention, "HALVES", ()):
        told(size, "attention by conversations, one by one", few)
    told(size, "rows written by the process that trains", few, readers=0)


if __name__ == "__main__":
    main()
