"""How fast a model trains here: what the scripts that compare for equal time begin with."""

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path


def steps_a_second(model, rows: Sequence, settings: Mapping, seed: int) -> float:
    """Return training steps a second, measured over all of `rows`; the model is trained by it."""
    from subterra.training.trainer import make_trainer

    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(model, rows, rows, {**settings, "evaluations": 1}, seed, Path(folder))
        trainer.args.eval_strategy = trainer.args.save_strategy = "no"
        began = time.monotonic()
        trainer.train()
        return len(rows) / (time.monotonic() - began)
