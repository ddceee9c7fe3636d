"""Fine-tune the embedded base and scratch on the same conversations for the same time, and print what came of it.

PYTHONPATH=scripts python benchmarks/compare_bases.py results/travel_booking

The embedded base is trained as the config says, scratch by its recipe with as many steps as fit into the same time.
Both become Q8_0 and talk with the same customers. The folder is that of a finished build: its data set, scenarios and
matcher are used, and nothing in it is changed.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "20000")

import yaml
from speed import steps_a_second
from subterra import matcher
from subterra.config import training_for
from subterra.conformance import score_dialogues
from subterra.dialogue import chosen
from subterra.evaluation import Play
from subterra.export.gguf_writer import export_f16
from subterra.export.quantize import quantize
from subterra.flowchart import Flowchart
from subterra.records import CONVERSATION, read_table
from subterra.report.headline import SPLITS
from subterra.sections import compiled
from subterra.training import tokens
from subterra.training.model import load_base
from subterra.training.train import train_model

ROOT = Path(__file__).resolve().parents[1]
SPEED_STEPS = 24
RECIPES = {"embedded": "config/config.yaml", "scratch": "config/recipes/scratch.yaml"}


class Build:
    """A finished build, and the config behind it."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text(encoding="utf-8"))
        self.flowchart = Flowchart.read(folder / "flowchart.json")
        self.matcher = matcher.load(folder / "evaluation" / "matcher.joblib")
        test = read_table(folder / "dataset" / "test.parquet", CONVERSATION)
        self.scenarios = chosen(test, self.config["evaluation"]["scenarios"])

    def settings(self, base: str) -> dict:
        """Return the training settings of a base."""
        recipe = yaml.safe_load((ROOT / RECIPES[base]).read_text(encoding="utf-8"))
        return training_for(self.config["training"] | recipe["training"], self.flowchart.lessons)

    def train(self, base: str, settings: Mapping, out: Path) -> dict:
        """Fine-tune a base into `out` and return what is known of the run."""
        return train_model(
            self.folder / "dataset" / "train.parquet",
            self.folder / "dataset" / "valid.parquet",
            out / "model",
            out_json=out / "training.json",
            out_loss=out / "loss.parquet",
            out_curve=out / "loss.svg",
            system=self.flowchart.system,
            free=self.flowchart.free,
            base=str(ROOT / "bases" / base),
            settings=settings,
            seed=self.config["seed"],
            checkpoints=out / "checkpoints",
            threads=len(os.sched_getaffinity(0)),
        )

    def steps_in(self, seconds: float, base: str, settings: Mapping) -> int:
        """Return how many training steps of a base fit into `seconds`, by the time that SPEED_STEPS of them take."""
        model, tokenizer = load_base(str(ROOT / "bases" / base))
        rows = read_table(self.folder / "dataset" / "valid.parquet", CONVERSATION)
        talks = tokens.encode_all(tokenizer, self.flowchart.system, rows, model.config.max_position_embeddings)
        packed = tokens.PackedRows(lambda *_: talks, settings["tokens_per_step"], 1, self.config["seed"], SPEED_STEPS)
        packed.rows = packed.rows[:SPEED_STEPS]
        return round(seconds * steps_a_second(model, packed, settings, self.config["seed"]))

    def scores(self, out: Path) -> Iterator[tuple[float, list[dict]]]:
        """Yield the temperatures and the scores of the model in `out`, as Q8_0."""
        told = {"agent": self.flowchart.agent, "spec_digest": self.flowchart.digest, "version": "benchmark"}
        export_f16(out / "model", out / "f16.gguf", **told, system=self.flowchart.system)
        quantize(out / "f16.gguf", out / "q8_0.gguf", "q8_0")
        for temperature in self.config["evaluation"]["temperatures"]:
            play = Play(
                condition=f"compiled-{out.name}",
                temperature=float(temperature),
                shard=0,
                settings={**self.config["evaluation"], "trials": 1, "shards": 1},
                customer={"backend": "scripted"},
                answering=compiled(self.config, str(out / "q8_0.gguf"), float(temperature)),
                section="export",
                seed=self.config["seed"],
                tools={},
                cache=out / "cache",
                parallel=self.config["evaluation"]["parallel"],
            )
            dialogues = play.hold(self.flowchart, self.scenarios)
            yield temperature, score_dialogues(self.flowchart, self.scenarios, dialogues, self.matcher)


def cells(scores: list[dict]) -> list[str]:
    """Return what conforms in each split, then the known and the held-out values that are said."""
    of = {split: [score for score in scores if score["split"] == split] for split in SPLITS}
    conform = [rate(sum(score["conforming"] for score in of[split]), len(of[split])) for split in SPLITS]
    values = [
        rate(*(sum(score[f"values_{key}"] for score in of[split]) for key in ("correct", "total")))
        for split in ("known", "held_out_values")
    ]
    return conform + values


def rate(right: int, total: int) -> str:
    return f"{100 * right / total:.1f} %" if total else "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("build", type=Path, help="results/{agent} of a finished build")
    build = Build(parser.parse_args().build)
    heads = ["base", "steps", "seconds", "temperature", *(split.replace("_", " ") for split in SPLITS)]
    heads += ["known values said", "held out values said"]
    print(f"| {' | '.join(heads)} |\n" + "| --- " * len(heads) + "|")
    seconds = 0.0
    for base in RECIPES:
        settings = build.settings(base)
        if seconds:
            settings |= {"epochs": 0, "least_steps": build.steps_in(seconds, base, settings)}
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder)
            facts = build.train(base, settings, out)
            seconds = facts["seconds"]
            for temperature, scores in build.scores(out):
                told = [base, f"{facts['steps']:,}", f"{facts['seconds']:.0f}", f"{temperature:g}", *cells(scores)]
                print(f"| {' | '.join(told)} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
