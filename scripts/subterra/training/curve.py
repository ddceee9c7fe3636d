"""The losses of a run, as a table and as a picture."""

import io
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from subterra import records
from subterra.text import write_whole


def losses(log: list[dict]) -> list[dict]:
    """Return the loss rows of a Trainer's log, one a step."""
    found: dict[int, dict] = {}
    for entry in log:
        row = found.setdefault(entry["step"], dict.fromkeys(records.LOSS.names) | {"step": entry["step"]})
        for name, key in (
            ("train_loss", "loss"),
            ("valid_loss", "eval_loss"),
            ("learning_rate", "learning_rate"),
        ):
            row[name] = entry.get(key, row[name])
    return [found[step] for step in sorted(found)]


def draw_curve(history: list[dict], out: str | Path) -> None:
    """Draw the losses over the steps as SVG."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    for name, label in (("train_loss", "training"), ("valid_loss", "held out")):
        points = [(row["step"], row[name]) for row in history if row[name] is not None]
        axes.plot(*zip(*points, strict=True), marker="o" if name == "valid_loss" else None, label=label)
    axes.set(xlabel="step", ylabel="loss on the agent's turns", yscale="log")
    axes.legend(frameon=False)
    picture = io.BytesIO()
    with rc_context({"svg.hashsalt": "subterra"}):
        figure.savefig(picture, format="svg", metadata={"Date": None})
    write_whole(out, picture.getvalue())
