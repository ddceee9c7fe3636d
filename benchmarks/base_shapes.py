"""Pretrain small bases of several shapes for the same time, side by side, and print what each can do then.

PYTHONPATH=scripts python benchmarks/base_shapes.py --seconds 480 --at_once 2

Each has one thread. Bits per byte say how well it speaks, whatever its tokenizer; copying is the share of
values it says again word for word, and of words with a token of their own in their place; signs the share of
wishes it answers as a made-up procedure of its prompt says.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

SEED = 11
FIRST = {
    "vocabulary": 3072,
    "digits": True,
    "held_out_rows": 4,
    "value_weight": 3,
    "induction_head": True,
    "tokens_per_step": 4096,
    "optimizer": "muon",
    "learning_rate": 0.006,
    "embedding_rate": 1,
    "weight_decay": 0.1,
    "warmup": 0.05,
    "decay": 0.3,
    "evaluations": 1,
}
SHAPE = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "rope_theta": 1_000_000,
}
# What each differs in from the first.
CHOICES: dict[str, tuple[dict, dict]] = {
    "first": ({}, {}),
    "no induction head": ({"induction_head": False}, {}),
    "values count once": ({"value_weight": 1}, {}),
    "6 layers": ({}, {"num_hidden_layers": 6}),
    "vocabulary 2,048": ({"vocabulary": 2048}, {}),
    "vocabulary 4,096": ({"vocabulary": 4096}, {}),
    "numbers in pieces, not digits": ({"digits": False}, {}),
    "8 heads": ({}, {"num_attention_heads": 8}),
    "768 wide inside": ({}, {"intermediate_size": 768}),
    "rope base 10,000": ({}, {"rope_theta": 10_000}),
    "adamw": ({"optimizer": "adamw", "learning_rate": 0.003}, {}),
}
SPEED_STEPS = 12
MEASURED = 150


def one(name: str, seconds: float) -> str:
    """Pretrain one choice and return its row of the table."""
    import torch
    from speed import steps_a_second
    from subterra.pretraining import pretrain, skills
    from subterra.pretraining.rows import CorpusRows
    from subterra.training.model import load_base

    pretrain.TOKENIZER_SAMPLES = 5_000
    changed, reshaped = CHOICES[name]
    settings = FIRST | changed | {"shape": SHAPE | reshaped}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)

        def run(steps: int) -> dict:
            return pretrain.pretrain(
                place / "model",
                out_json=place / "facts.json",
                out_loss=place / "loss.parquet",
                settings=settings | {"steps": steps},
                seed=SEED,
                checkpoints=place / "checkpoints",
                threads=1,
            )

        run(1)
        model, tokenizer = load_base(str(place / "model"))
        rows = CorpusRows(tokenizer, SEED, settings["tokens_per_step"], SPEED_STEPS)
        steps = int(seconds * steps_a_second(model, rows, settings, SEED))
        facts = run(steps)
        torch.set_num_threads(1)
        found = skills.measure(*load_base(str(place / "model")), SEED + 7, MEASURED)
    cells = [
        name,
        f"{facts['parameters'] / 1e6:.2f} M",
        f"{steps:,}",
        f"{facts['tokens'] / 1e6:.2f} M",
        f"{found['bits_per_byte']:.4f}",
        f"{100 * skills.share(found['copied']):.1f} %",
        f"{100 * skills.share([found['words']]):.1f} %",
        f"{100 * skills.share([found['signs']]):.1f} %",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=300, help="of training, for each choice")
    parser.add_argument("--at_once", type=int, default=os.cpu_count() or 1, help="choices that run side by side")
    parser.add_argument("--only", nargs="*", choices=CHOICES, default=list(CHOICES))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(one(asked.one, asked.seconds), flush=True)
        return
    head = ["base", "parameters", "steps", "tokens", "bits per byte", "values copied", "words copied", "signs"]
    print(f"| {' | '.join(head)} |\n" + "| --- " * len(head) + "|")
    waiting, running = list(asked.only), []
    while waiting or running:
        while waiting and len(running) < asked.at_once:
            command = [sys.executable, __file__, "--one", waiting.pop(0), "--seconds", str(asked.seconds)]
            running.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True))
        ended = next((process for process in running if process.poll() is not None), None)
        if ended is None:
            time.sleep(0.5)
            continue
        running.remove(ended)
        print(ended.stdout.read().strip() or "| (one failed) |", flush=True)


if __name__ == "__main__":
    main()
