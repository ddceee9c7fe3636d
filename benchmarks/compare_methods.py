"""Fine-tune the embedded base fully, as one model too, and by LoRA on the same conversations; print what came of it.

PYTHONPATH=scripts python benchmarks/compare_methods.py results/travel_booking [--ranks 16 64]

All see the same rows. Full fine-tuning is as the config says, and once more without replicas; LoRA is as
config/recipes/lora.yaml, for each of the ranks. Each becomes Q8_0 and talks with the same customers. Nothing in the
finished build is changed.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import yaml
from compare_bases import ROOT, Build, cells
from subterra.report.headline import SPLITS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("build", type=Path, help="results/{agent} of a finished build")
    parser.add_argument("--ranks", type=int, nargs="+", default=[16, 64], help="of LoRA")
    asked = parser.parse_args()
    build = Build(asked.build)
    recipe = yaml.safe_load((ROOT / "config" / "recipes" / "lora.yaml").read_text(encoding="utf-8"))["training"]
    contenders = {"full": {}, "full, one replica": {"replicas": 1}}
    for rank in asked.ranks:
        contenders[f"LoRA, rank {rank}"] = recipe | {"lora": recipe["lora"] | {"rank": rank, "alpha": 2 * rank}}
    heads = ["method", "trained parameters", "seconds", "held-out loss", "temperature"]
    heads += [*(split.replace("_", " ") for split in SPLITS), "known values said", "held out values said"]
    print(f"| {' | '.join(heads)} |\n" + "| --- " * len(heads) + "|")
    for name, changes in contenders.items():
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder)
            facts = build.train("embedded", build.settings("embedded") | changes, out)
            share = 100 * facts["trained_parameters"] / facts["parameters"]
            for temperature, scores in build.scores(out):
                told = [name, f"{facts['trained_parameters']:,} ({share:.0f} %)", f"{facts['seconds']:.0f}"]
                told += [f"{facts['valid_loss']:.4f}", f"{temperature:g}", *cells(scores)]
                print(f"| {' | '.join(told)} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
