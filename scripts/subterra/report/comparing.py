"""What stands between conditions: how reliable each is, what judges say, whether a difference is more than chance."""

from collections import Counter
from collections.abc import Callable, Iterable

from subterra.agreement import agreement
from subterra.report.headline import ALL, compared, headline, split_order
from subterra.report.inputs import Evidence, Key, Run, key_of
from subterra.statistics import bootstrap_mean, compare, compare_outcomes, holm, pass_hat
from subterra.verdicts import CRITERIA

Read = Callable[[dict], float | None]

# What the machine counts of a conversation: its name, how a score tells it (None: it has none), whether yes or no.
MACHINE: dict[str, tuple[Read, bool]] = {
    "conforming": (lambda score: score["conforming"], True),
    "right_end": (lambda score: score["outcome_correct"], True),
    "values_said": (lambda score: _share(score["values_correct"], score["values_total"]), False),
    "turns": (lambda score: score["turns"], False),
    "seconds": (lambda score: score["seconds"], False),
}


def reliability(evidence: Evidence) -> list[dict]:
    """Return pass^1 to pass^k by condition, temperature and split, and over all; where scenarios have several trials.

    k is the least number of trials that one of the scenarios has; a success is a conversation that conforms.
    """
    rows = []
    for run in evidence.runs:
        splits = sorted({score["split"] for score in run.scores}, key=split_order)
        for split in [ALL, *splits] if len(splits) > 1 else splits:
            rows += _passes(run, split, [score for score in run.scores if split in (ALL, score["split"])])
    return rows


def judgements(evidence: Evidence) -> list[dict]:
    """Return, by run and judge, how many failed and each criterion's mean with its bootstrap interval."""
    return [
        {"condition": run.condition, "temperature": run.temperature, "judge": judge}
        | _criteria(run.judged_by(judge).values())
        for run in evidence.runs
        for judge in run.judges
    ]


def comparisons(evidence: Evidence) -> list[dict]:
    """Return the headline's run against one run of every other condition, measure by measure.

    Pairs are dialogues of the same scenario and trial; without any, the sides are independent samples. Holm corrects
    over the conditions that a machine's measure compares, and over the criteria of one pair of conditions.
    """
    first = headline(evidence)
    if first is None:
        return []
    others = compared(evidence)
    rows = [_of_machine(name, read, outcome, first, others) for name, (read, outcome) in MACHINE.items()]
    rows += [_of_judge(first, other) for other in others]
    return [row for family in rows for row in _adjusted(family)]


def agreements(evidence: Evidence) -> dict | None:
    """Return how far two judges agree, and the first with the machine, over all runs; None where nothing was judged."""
    judged = [row for run in evidence.runs for row in run.judgements]
    return agreement(judged, [score for run in evidence.runs for score in run.scores])


def _passes(run: Run, split: str, scores: list[dict]) -> list[dict]:
    trials = Counter(score["id"] for score in scores)
    if not trials or min(trials.values()) < 2:
        return []
    good = Counter(score["id"] for score in scores if score["conforming"])
    counts = [good[name] for name in trials], list(trials.values())
    passes = [pass_hat(*counts, k) for k in range(1, min(trials.values()) + 1)]
    facts = {"condition": run.condition, "temperature": run.temperature, "split": split}
    return [facts | {"scenarios": len(trials), "trials": min(trials.values()), "pass_hat": passes}]


def _criteria(rows: Iterable[dict]) -> dict:
    rows = list(rows)
    judged = [_scores(row) for row in rows if row["criteria"]]
    found = []
    for name in CRITERIA if judged else ():
        values = [scores[name] for scores in judged]
        low, high = bootstrap_mean(values)
        found.append({"criterion": name, "mean": sum(values) / len(values), "low": low, "high": high})
    return {
        "conversations": len(judged),
        "unjudged": len(rows) - len(judged),
        "failed": sum(bool(row["failed"]) for row in rows),
        "criteria": found,
    }


def _of_machine(name: str, read: Read, outcome: bool, first: Run, others: list[Run]) -> list[dict]:
    test = compare_outcomes if outcome else compare
    values = {run.name: {key_of(score): read(score) for score in run.scores} for run in (first, *others)}
    return [_compared(name, test, first, other, values[first.name], values[other.name]) for other in others]


def _of_judge(first: Run, other: Run) -> list[dict]:
    judge = next((judge for judge in first.judges if judge in other.judges), None)
    if judge is None:
        return []
    left, right = (
        {key: _scores(row) for key, row in run.judged_by(judge).items() if row["criteria"]} for run in (first, other)
    )
    return [
        _compared(
            name, compare, first, other, *({key: one[name] for key, one in side.items()} for side in (left, right))
        )
        for name in CRITERIA
    ]


def _compared(
    name: str,
    test: Callable,
    left: Run,
    right: Run,
    ours: dict[Key, float | None],
    theirs: dict[Key, float | None],
) -> dict:
    """Return one comparison, {} where a side has nothing to compare."""
    ours, theirs = ({key: value for key, value in side.items() if value is not None} for side in (ours, theirs))
    both = [key for key in ours if key in theirs]
    sides = [[side[key] for key in both or side] for side in (ours, theirs)]
    if not all(sides):
        return {}
    facts = {
        side: {"condition": run.condition, "temperature": run.temperature}
        for side, run in (("left", left), ("right", right))
    }
    means = {f"{side}_mean": sum(values) / len(values) for side, values in zip(("left", "right"), sides, strict=True)}
    return {"measure": name, **facts, **means, **test(*sides, paired=bool(both))}


def _adjusted(family: list[dict]) -> list[dict]:
    rows = [row for row in family if row]
    return [
        row | {"p_adjusted": p, "family": len(rows)}
        for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True)
    ]


def _share(part: int, total: int) -> float | None:
    return part / total if total else None


def _scores(row: dict) -> dict[str, int]:
    return {one["criterion"]: one["score"] for one in row["criteria"]}
