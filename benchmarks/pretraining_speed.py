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
from speed import ROOT, SKIPPED, seconds_of, share_of_peak
from subterra.pretraining.rows import CorpusRows
from subterra.training import attention, optimizer
from subterra.training.model import load_base
from subterra.training.trainer import make_trainer, parameters

SEED = 11


def tokens_a_second(settings: dict, steps: int, readers: int, filtered: bool = False) -> tuple[float, int]:
    """Return (tokens a second, parameters) of so many steps."""
    model, tokenizer = load_base(str(ROOT / "bases" / "embedded"))
    rows = CorpusRows(tokenizer, SEED, settings["tokens_per_step"], SKIPPED + steps)
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(model, rows, rows, settings, SEED, Path(folder), readers=readers)
        trainer.args.logging_nan_inf_filter = filtered
        return steps * settings["tokens_per_step"] / seconds_of(trainer), parameters(model)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tokens", type=int, nargs="+", default=[65536], help="of a step")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--gpu", default="", help="name in config/gpus.yaml, for the share of its peak")
    asked = parser.parse_args()
    settings = yaml.safe_load((ROOT / "config" / "config.yaml").read_text(encoding="utf-8"))["pretraining"]
    readers = max(1, (os.cpu_count() or 1) - 1)
    print("| tokens a step | | tokens a second | share of the peak |\n| --- | --- | --- | --- |", flush=True)

    def told(size: int, name: str, steps: int, **more) -> None:
        speed, weights = tokens_a_second(settings | {"tokens_per_step": size}, steps, **{"readers": readers} | more)
        share = share_of_peak(asked.gpu, weights, speed)
        print(f"| {size:,} | {name} | {speed:,.0f} | {'-' if share is None else f'{share:.1%}'} |", flush=True)

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
