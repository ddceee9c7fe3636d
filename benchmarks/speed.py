"""How fast a model trains here: what the scripts that compare for equal time begin with."""

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from transformers import TrainerCallback

ROOT = Path(__file__).resolve().parents[1]
SKIPPED = 5  # steps, in which kernels are chosen and memory is taken


class Clock(TrainerCallback):
    """When steps ended; of the first that counts and the last, once the GPU has done them."""

    def __init__(self):
        self.ends: list[float] = []

    def on_step_end(self, args, state, control, **_):
        if torch.cuda.is_available() and state.global_step in (SKIPPED, state.max_steps):
            torch.cuda.synchronize()
        self.ends.append(time.monotonic())

    def seconds(self) -> float:
        """Return how long the steps after the skipped ones took."""
        return self.ends[-1] - self.ends[SKIPPED - 1]


def seconds_of(trainer) -> float:
    """Train without measuring or saving anything; return how long the steps after the skipped ones took."""
    clock = Clock()
    trainer.args.eval_strategy = trainer.args.save_strategy = "no"
    trainer.args.load_best_model_at_end = False
    trainer.add_callback(clock)
    trainer.train()
    return clock.seconds()


def share_of_peak(gpu: str, parameters: int, tokens_a_second: float, gpus: int = 1) -> float | None:
    """Return the share of a GPU's peak (config/gpus.yaml), 6 operations a parameter and token; None of no GPU.

    What is computed again counts once.
    """
    from subterra.sizing import read_gpus

    peaks = {one.name: one.bf16 for one in read_gpus(ROOT / "config" / "gpus.yaml")}
    return 6 * parameters * tokens_a_second / (gpus * peaks[gpu] * 1e12) if gpu else None


def steps_a_second(model, rows: Sequence, settings: Mapping, seed: int) -> float:
    """Return training steps a second, measured over all of `rows`; the model is trained by it."""
    from subterra.training.trainer import make_trainer

    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(model, rows, rows, {**settings, "evaluations": 1}, seed, Path(folder))
        trainer.args.eval_strategy = trainer.args.save_strategy = "no"
        began = time.monotonic()
        trainer.train()
        return len(rows) / (time.monotonic() - began)
