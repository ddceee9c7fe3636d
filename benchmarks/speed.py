"""How fast a model trains here: what the scripts that compare for equal time begin with."""

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from transformers import TrainerCallback

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


def steps_a_second(model, rows: Sequence, settings: Mapping, seed: int) -> float:
    """Return training steps a second, measured over all of `rows`; the model is trained by it."""
    from subterra.training.trainer import make_trainer

    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(model, rows, rows, {**settings, "evaluations": 1}, seed, Path(folder))
        trainer.args.eval_strategy = trainer.args.save_strategy = "no"
        began = time.monotonic()
        trainer.train()
        return len(rows) / (time.monotonic() - began)
