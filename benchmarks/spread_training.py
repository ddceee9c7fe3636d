"""How fast a base trains, spread over GPUs: tokens a second, memory, and the share of the chips' peak.

PYTHONPATH=scripts python benchmarks/spread_training.py results/travel_booking --processes 8 --gpu H100 --checkpointing

The base is one of the shapes below with random weights, or a folder. For each sharding the workflow's own training runs
for a few steps on the conversations of a finished build, in as many processes, and writes no model. The first steps, in
which kernels are chosen and memory is taken, are not counted. Without a GPU it runs as well, on gloo, and without a
share of a peak. Random weights take as long as learned ones.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import torch
import yaml
from speed import ROOT, SKIPPED, seconds_of, share_of_peak
from subterra.flowchart import Flowchart
from subterra.training import launch
from subterra.training.train import Task, ready
from subterra.training.trainer import parameters, peak_bytes

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
    """Write a base of a shape with random weights in bf16, and the embedded base's tokenizer; return its folder."""
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**SHAPES[shape]), dtype=torch.bfloat16)
    model.save_pretrained(folder)
    for file in (ROOT / "bases" / "embedded").glob("*token*"):
        shutil.copy(file, folder)
    shutil.copy(ROOT / "bases" / "embedded" / "chat_template.jinja", folder)
    return str(folder)


def trained(job: Path) -> None:
    """Be one of the processes: train, and leave beside the job what the first one saw."""
    task = Task(**json.loads(job.read_text(encoding="utf-8")))
    if task.settings["sharding"] != "none":
        launch.meet_by_deepspeed()
    trainer = ready(task).trainer
    seconds = seconds_of(trainer)
    steps = trainer.state.max_steps - SKIPPED
    facts = {
        "parameters": parameters(trainer.model),
        "tokens_per_second": steps * task.settings["tokens_per_step"] / seconds,
        "peak_gib": peak_bytes() / 2**30,
    }
    if trainer.is_world_process_zero():
        job.with_suffix(".told").write_text(json.dumps(facts), encoding="utf-8")
    trainer.accelerator.end_training()


def told_by(task: Task, job: Path) -> dict | None:
    """Start the processes of a task; return what the first one saw, None where they failed."""
    job.write_text(json.dumps(asdict(task)), encoding="utf-8")
    processes = task.settings["processes"]
    launched = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    variables = launch.environment(max(1, task.threads // processes))
    variables["PYTHONPATH"] += os.pathsep + os.environ.get("PYTHONPATH", "")
    command = [sys.executable, *launched, __file__, str(job), "--job"]
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    if done.returncode:
        print(done.stderr, file=sys.stderr, flush=True)
        return None
    return json.loads(job.with_suffix(".told").read_text(encoding="utf-8"))


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
    parser.add_argument("--job", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.job:
        trained(asked.build)
        return
    settings = yaml.safe_load((ROOT / "config" / "config.yaml").read_text(encoding="utf-8"))["training"]
    settings |= {"optimizer": "adamw", "evaluations": 1, "epochs": 0, "least_steps": SKIPPED + asked.steps}
    settings |= dict.fromkeys(("rehearsal", "unheard_values", "word_dropout", "opening_smoothing"), 0)
    settings |= {"processes": asked.processes, "rows_per_step": asked.processes}
    settings |= {"tokens_per_step": asked.row * asked.processes, "gradient_checkpointing": asked.checkpointing}
    heads = ["sharding", "parameters", "tokens a second", "GiB a process", "share of the peak"]
    print(f"| {' | '.join(heads)} |\n" + "| --- " * len(heads) + "|", flush=True)
    with tempfile.TemporaryDirectory() as place:
        base = written(asked.base, Path(place)) if asked.base in SHAPES else asked.base
        data = [str(asked.build / "dataset" / name) for name in ("train.parquet", "valid.parquet")]
        system = Flowchart.read(asked.build / "flowchart.json").system
        for sharding in asked.sharding:
            shared = {"out": "", "out_json": "", "out_loss": "", "out_curve": "", "free": {}, "seed": 1}
            task = Task(
                *data,
                **shared,
                system=system,
                base=base,
                settings=settings | {"sharding": sharding},
                checkpoints=f"{place}/checkpoints",
                threads=os.cpu_count() or 1,
                weights=base,
            )
            facts = told_by(task, Path(place) / f"{sharding}.json")
            if facts is None:
                continue
            share = share_of_peak(asked.gpu, facts["parameters"], facts["tokens_per_second"], asked.processes)
            numbers = [f"{facts['parameters']:,}", f"{facts['tokens_per_second']:,.0f}", f"{facts['peak_gib']:.1f}"]
            print(f"| {' | '.join([sharding, *numbers, '-' if share is None else f'{share:.0%}'])} |", flush=True)


if __name__ == "__main__":
    main()
