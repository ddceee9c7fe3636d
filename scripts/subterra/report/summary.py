"""summary.json: the figures of one agent, as counts, in the shape that DESIGN.md promises to machines."""

from collections import Counter

from subterra.flowchart import Flowchart
from subterra.report.comparing import agreements, comparisons, judgements, reliability
from subterra.report.headline import ALL, preference, split_order
from subterra.report.inputs import Evidence, Run, key_of
from subterra.statistics import bootstrap_mean, bootstrap_ratio, wilson

DATASET = ("conversations", "turns", "tokens", "dropped", "edges_covered", "edge_pairs_covered")
COUNTED = ("values", "facts", "arguments")  # what an agent has to get right beside the step itself
CONDITIONS = ("in_context", "langgraph", "crewai")
SUMS = (
    *(f"{what}_{count}" for what in COUNTED for count in ("correct", "total")),
    *("interruptions_handled", "interruptions_total", "legal_steps", "steps_total"),
    *("calls", "guessed", "tokens_in", "tokens_cached", "tokens_out", "dollars", "seconds", "busy"),
)


def summarise(evidence: Evidence) -> dict:
    """Return the summary: the keys of DESIGN.md; also title, training, models, parity, matcher and not_run.

    What stands between conditions is in `overall` (as `evaluation`, over all splits), reliability, judgements,
    comparisons, agreement and costs.
    """
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
        "evaluation": [row for run in evidence.runs for row in evaluation_rows(run, evidence)],
        "overall": [_overall(run, evidence) for run in evidence.runs if run.scores],
        "not_run": not_run(evidence),
        "reliability": reliability(evidence),
        "judgements": judgements(evidence),
        "comparisons": comparisons(evidence),
        "agreement": agreements(evidence),
        "costs": evidence.costs,
    }


def evaluation_rows(run: Run, evidence: Evidence) -> list[dict]:
    """Return one row for each split of a run; none where it was not run."""
    splits = sorted({score["split"] for score in run.scores}, key=split_order)
    return [_row(run, split, [score for score in run.scores if score["split"] == split], evidence) for split in splits]


def _overall(run: Run, evidence: Evidence) -> dict:
    seconds = bootstrap_mean([score["seconds"] for score in run.scores])
    return _row(run, ALL, run.scores, evidence) | {"seconds_interval": list(seconds)}


def not_run(evidence: Evidence) -> list[str]:
    """Return the conditions without a single score: those asked for, and the paper's other three."""
    measured = {run.condition for run in evidence.runs if run.scores}
    asked = [run.condition for run in evidence.runs] + [f"compiled-{quant}" for quant in evidence.sizes]
    names = [name for name in dict.fromkeys([*asked, *CONDITIONS]) if name not in measured]
    return sorted(names, key=lambda name: preference(name)[:2])


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


def _row(run: Run, split: str, scores: list[dict], evidence: Evidence) -> dict:
    total = {key: sum(score[key] for score in scores) for key in SUMS}
    talks = [run.dialogues[key_of(score)] for score in scores if key_of(score) in run.dialogues]
    trials = Counter(score["id"] for score in scores)
    return {
        "condition": run.condition,
        "temperature": run.temperature,
        "split": split,
        "conversations": len(scores),
        "scenarios": len(trials),
        "trials": max(trials.values()),
        "customer": ", ".join(sorted({talk["customer"] for talk in talks})),
        "conforming": sum(score["conforming"] for score in scores),
        "interval": share_interval(scores),
        "outcome_correct": sum(score["outcome_correct"] for score in scores),
        **total,
        "values_interval": _values_interval(scores) if total["values_total"] else None,
        "turns_mean": sum(score["turns"] for score in scores) / len(scores),
        "seconds_mean": total["seconds"] / len(scores),
        "tokens_per_second": total["tokens_out"] / total["seconds"] if total["seconds"] else None,
        "tokens_per_busy_second": total["tokens_out"] / total["busy"] if total["busy"] else None,
        "dollars_per_conversation": _dollars(total, len(scores), evidence.costs),
        "stopped": dict(sorted(Counter(talk["stopped"] for talk in talks).items())),
        "file_bytes": evidence.sizes.get(run.condition.removeprefix("compiled-")),
    }


def share_interval(scores: list[dict]) -> list[float]:
    """Return the 95 % interval of the share of conversations that conform: Wilson's.

    Trials of one scenario hang together, which Wilson's does not know; where there are several, it is widened to the
    bootstrap interval of scenarios drawn whole.
    """
    low, high = wilson(sum(score["conforming"] for score in scores), len(scores))
    trials = Counter(score["id"] for score in scores)
    if len(trials) < len(scores):
        good = Counter(score["id"] for score in scores if score["conforming"])
        drawn = bootstrap_ratio([good[name] for name in trials], list(trials.values()))
        low, high = min(low, drawn[0]), max(high, drawn[1])
    return [low, high]


def _dollars(total: dict, conversations: int, costs: dict) -> float | None:
    """Return the mean cost of a conversation: what was billed, and the time of this machine at the price of an hour."""
    machine = costs.get("machine")
    if not machine:
        return None
    hosted = machine["dollars_an_hour"] / 3600 / machine.get("side_by_side", 1)
    return (total["dollars"] + total["busy"] * hosted) / conversations


def _values_interval(scores: list[dict]) -> list[float]:
    """Return the 95 % interval of the share of values said, conversations drawn whole."""
    counts = [[score[key] for score in scores] for key in ("values_correct", "values_total")]
    return list(bootstrap_ratio(*counts))
