"""How many models are trained at once.

A small model does not fill many cores: several are trained sooner side by side, each on some of the cores, than one
after another on all of them.
"""

from collections.abc import Collection, Iterable
from pathlib import Path


def trained_at_once(agents: Collection[str], targets: Iterable[str], results: str | Path = "results") -> int:
    """Return how many of the agents a run of Snakemake will train, as far as files tell before it begins; 1 or more.

    Asked for are the agents that the targets name, such as `zoom_support` or `results/zoom_support/model`, or all where
    a target names none or there is none.
    """
    named = [{agent for agent in agents if agent in Path(target).parts} for target in targets]
    asked = set().union(*named) if named and all(named) else set(agents)
    return max(1, sum(_is_to_be_trained(Path(results, agent)) for agent in asked))


def _is_to_be_trained(folder: Path) -> bool:
    """Return whether an agent has no model, or a plan that is newer."""
    trained = folder / "training.json"
    planned = [*folder.glob("flowchart.json"), *folder.glob("shards/*.json")]
    return not trained.is_file() or any(file.stat().st_mtime > trained.stat().st_mtime for file in planned)
