"""How fast a base trains, spread over GPUs: tokens a second, memory, and the share of the chips' peak.

PYTHONPATH=scripts python benchmarks/spread_training.py results/travel_booking --processes 8 --gpu H100 --checkpointing

The base is one of the shapes below with random weights, or a folder. For each sharding the workflow's own training runs
for a few steps on the conversations of a finished build; what it tells of itself is printed. Without a GPU it runs as
well, on gloo, and without a share of a peak. Random weights take as long as learned ones.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

import yaml
from subterra.flowchart import Flowchart
from subterra.sizing import read_gpus
from subterra.training.train import train_model

ROOT = Path(__file__).resolve().parents[1]
QWEN = {"model_type": "qwen2", "max_position_embeddings": 32768, "rope_theta": 1e6, "rms_norm_eps": 1e-6}
SHAPES = {
    "qwen2.5-3b": QWEN
    | {
        "hidden_size": 2048,
        "intermediate_size": 11008,
        "num_hidden_layers": 36,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
        "tie_word_embeddings": True,
    },
    "qwen2.5-0.5b": QWEN
    | {
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
        "tie_word_embeddings": True,
    },
}


def written(shape: str, folder: Path) -> str:
    """Write a base of a shape without weights, with the embedded base's tokenizer; return its folder."""
    from transformers import AutoConfig

    for file in (ROOT / "bases" / "embedded").glob("*token*"):
        shutil.copy(file, folder)
    shutil.copy(ROOT / "bases" / "embedded" / "chat_template.jinja", folder)
    AutoConfig.for_model(**SHAPES[shape]).save_pretrained(folder)
    return str(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("build", type=Path, help="results/{agent} of a finished build")
    parser.add_argument("--base", default="qwen2.5-3b", help=f"one of {', '.join(SHAPES)}, or a folder")
    parser.add_argument("--processes", type=int, default=1, help="one a GPU")
    parser.add_argument("--sharding", nargs="+", default=["none", "zero2", "zero3"])
    parser.add_argument("--row", type=int, default=8192, help="tokens that a process reads at once")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--gpu", default="", help="name in config/gpus.yaml, for the share of its peak")
    parser.add_argument("--checkpointing", action="store_true", help="compute activations again")
    asked = parser.parse_args()
    settings = yaml.safe_load((ROOT / "config" / "config.yaml").read_text(encoding="utf-8"))["training"]
    settings |= {
        "optimizer": "adamw",
        "rehearsal": 0,
        "unheard_values": 0,
        "word_dropout": 0,
        "opening_smoothing": 0,
        "evaluations": 1,
        "processes": asked.processes,
    }
    settings |= {"rows_per_step": asked.processes, "tokens_per_step": asked.row * asked.processes}
    settings |= {"gradient_checkpointing": asked.checkpointing, "least_steps": asked.steps, "epochs": 0}
    peaks = {gpu.name: gpu.bf16 for gpu in read_gpus(ROOT / "config" / "gpus.yaml")}
    heads = ["sharding", "parameters", "tokens a second", "GiB a process", "share of the peak"]
    print(f"| {' | '.join(heads)} |\n" + "| --- " * len(heads) + "|")
    with tempfile.TemporaryDirectory() as place:
        base = written(asked.base, Path(place)) if asked.base in SHAPES else asked.base
        for sharding in asked.sharding:
            out = Path(place) / sharding
            out.mkdir()
            facts = train_model(
                asked.build / "dataset" / "train.parquet",
                asked.build / "dataset" / "valid.parquet",
                out / "model",
                out_json=out / "training.json",
                out_loss=out / "loss.parquet",
                out_curve=out / "loss.svg",
                system=Flowchart.read(asked.build / "flowchart.json").system,
                free={},
                base=base,
                settings=settings | {"sharding": sharding},
                seed=1,
                checkpoints=out / "checkpoints",
                threads=os.cpu_count() or 1,
            )
            work = 6 * facts["parameters"] * facts["tokens_per_second"]  # what is computed again counts once
            share = f"{100 * work / (asked.processes * peaks[asked.gpu] * 1e12):.0f} %" if asked.gpu else "-"
            told = [sharding, f"{facts['parameters']:,}", f"{facts['tokens_per_second']:,}", f"{facts['peak_gib']:.1f}"]
            print(f"| {' | '.join([*told, share])} |", flush=True)
            shutil.rmtree(out)


if __name__ == "__main__":
    sys.exit(main())
