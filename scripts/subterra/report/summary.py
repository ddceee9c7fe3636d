"""summary.json: the figures of one agent, as counts, in the shape that DESIGN.md promises to machines."""

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise

from subterra.flowchart import Flowchart
from subterra.report.inputs import Evidence, Run
from subterra.statistics import bootstrap_ratio

SPLITS = ("known", "held_out_paths", "held_out_values", "held_out_phrasings", "interruptions")
DATASET = ("conversations", "turns", "tokens", "dropped", "edges_covered", "edge_pairs_covered")
COUNTED = ("values", "facts", "arguments")  # what an agent has to get right beside the step itself
CONDITIONS = ("in_context", "langgraph", "crewai")


def summarise(evidence: Evidence) -> dict:
    """Return the summary: the keys of DESIGN.md; also title, training, models, parity, matcher, not_run."""
    flowchart = evidence.flowchart
    return {
        "agent": flowchart.agent,
        "title": flowchart.title,
        "spec_digest": evidence.spec_digest or flowchart.digest,
        "version": evidence.version,
        "flowchart": _flowchart(flowchart, evidence.paths),
        "dataset": _dataset(evidence),
        "teacher": evidence.dataset.get("teacher", {}),
        "training": evidence.training,
        "models": [{"quant": quant, "bytes": size} for quant, size in evidence.sizes.items()],
        "parity": evidence.parity,
        "matcher": evidence.matcher,
        "stages": evidence.stages,
        "evaluation": [row for run in evidence.runs for row in evaluation_rows(run, evidence.sizes)],
        "not_run": not_run(evidence),
    }


def evaluation_rows(run: Run, sizes: dict[str, int]) -> list[dict]:
    """Return one row for each split of a run; none where it was not run."""
    splits = sorted({score["split"] for score in run.scores}, key=split_order)
    return [
        {
            "condition": run.condition,
            "temperature": run.temperature,
            "split": split,
            **_counts([score for score in run.scores if score["split"] == split], run),
            "file_bytes": sizes.get(run.condition.removeprefix("compiled-")),
        }
        for split in splits
    ]


def split_order(split: str) -> tuple[int, str]:
    """Sort key: the order of SPLITS, then the others by name."""
    return (SPLITS.index(split) if split in SPLITS else len(SPLITS), split)


def not_run(evidence: Evidence) -> list[str]:
    """Return the conditions without a single score: those asked for, and the paper's other three."""
    measured = {run.condition for run in evidence.runs if run.scores}
    asked = [run.condition for run in evidence.runs] + [f"compiled-{quant}" for quant in evidence.sizes]
    return [name for name in dict.fromkeys([*asked, *CONDITIONS]) if name not in measured]


def headline(evidence: Evidence) -> Run | None:
    """Return the run that the verdict speaks of: greedy before sampled, then by `preference`."""
    measured = [run for run in evidence.runs if run.scores]
    return min(measured, key=lambda run: (run.temperature, *preference(run.condition)), default=None)


def preference(condition: str) -> tuple[bool, bool, str]:
    """Sort key, fixed before anything is measured: Q8_0, then other compiled models, then the rest."""
    return condition != "compiled-q8_0", not condition.startswith("compiled-"), condition


def rates(flowchart: Flowchart, scores: Iterable[dict]) -> dict[str, dict[str, tuple[int, int]]]:
    """Return how often the agent did right: {"nodes": {id: (right, asked)}, "edges": {"a->b": ...}}.

    A step counts for every node that was expected, for the edge from the customer's last node to the
    first of them, and for the edges inside the run. Nodes and edges of the customer are not judged and
    do not appear.
    """
    edges = set(flowchart.edges)
    right: Counter = Counter()
    asked: Counter = Counter()
    for step in (step for score in scores for step in score["steps"]):
        run = [name for name in step["expected"].split("+") if name in flowchart.nodes]
        if step["call_expected"]:
            run += _tools_after(flowchart, run[-1] if run else step["after"])
        chain = [step["after"], *run] if step["after"] else run
        pairs = {pair for pair in pairwise(chain) if pair in edges}
        for key in [*dict.fromkeys(run), *sorted(pairs)]:
            asked[key] += 1
            right[key] += step["legal"]
    return {
        "nodes": {key: (right[key], asked[key]) for key in asked if isinstance(key, str)},
        "edges": {"->".join(key): (right[key], asked[key]) for key in asked if not isinstance(key, str)},
    }


def _tools_after(flowchart: Flowchart, name: str) -> list[str]:
    ways = flowchart.nodes[name].ways if name in flowchart.nodes else ()
    return [way.to for way in ways if flowchart.speaks(way.to) == "tool"]


def _dataset(evidence: Evidence) -> dict:
    """Return what DESIGN.md promises of the data set; its tokens are those of training, by the base's tokenizer."""
    told = {key: value for key, value in evidence.dataset.items() if key != "teacher"}
    return {**dict.fromkeys(DATASET), "tokens": evidence.training.get("tokens"), **told}


def _flowchart(flowchart: Flowchart, paths: dict) -> dict:
    return {
        "nodes": len(flowchart.nodes),
        "hubs": len(flowchart.hubs),
        "ends": len(flowchart.ends),
        "edges": len(flowchart.edges),
        "path_rule": paths.get("rule", flowchart.rule),
        "paths": paths.get("count"),
        "paths_derived": paths.get("derived"),
        "turns_min": paths.get("turns_min"),
        "turns_max": paths.get("turns_max"),
        "facts": list(flowchart.knowledge),
        "tools": list(flowchart.tools()),
        "interruptions": list(flowchart.interruptions),
    }


def _counts(scores: list[dict], run: Run) -> dict:
    total = {
        key: sum(score[key] for score in scores)
        for key in (
            *(f"{what}_{count}" for what in COUNTED for count in ("correct", "total")),
            "interruptions_handled",
            "interruptions_total",
            "legal_steps",
            "steps_total",
            "tokens_in",
            "tokens_out",
            "seconds",
        )
    }
    talks = [run.dialogues[score["id"]] for score in scores if score["id"] in run.dialogues]
    return {
        "conversations": len(scores),
        "conforming": sum(score["conforming"] for score in scores),
        "outcome_correct": sum(score["outcome_correct"] for score in scores),
        **total,
        "values_interval": _values_interval(scores) if total["values_total"] else None,
        "turns_mean": sum(score["turns"] for score in scores) / len(scores),
        "tokens_per_second": total["tokens_out"] / total["seconds"] if total["seconds"] else None,
        "dollars_per_conversation": None,
        "stopped": dict(sorted(Counter(talk["stopped"] for talk in talks).items())),
    }


def _values_interval(scores: list[dict]) -> list[float]:
    """Return the 95 % interval of the share of values said, conversations drawn whole."""
    counts = [[score[key] for score in scores] for key in ("values_correct", "values_total")]
    return list(bootstrap_ratio(*counts))
