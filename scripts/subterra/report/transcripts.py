"""The talks a reader should see: the worst, the wrong step marked, and a few good ones for contrast."""

from collections import Counter

from subterra.report.inputs import Evidence, Run
from subterra.report.summary import COUNTED, headline, split_order

GOOD = 3
MISTAKES = 8


def worst(evidence: Evidence) -> list[dict]:
    """Return the worst transcripts, at most `evidence.worst`: those that broke the procedure, then those that
    lost a value; within both, the headline's run first and the least share of right steps first."""
    best = headline(evidence)
    found = [(run, score) for run in evidence.runs for score in run.scores if _faulty(score) and _talk(run, score)]
    found.sort(key=lambda pair: (pair[1]["conforming"], pair[0] is not best, *_badness(pair[1])))
    return [transcript(run, score) for run, score in found[: evidence.worst]]


def good(evidence: Evidence) -> list[dict]:
    """Return up to three faultless transcripts of the headline's run, of different outcomes if it can."""
    run = headline(evidence)
    scores = [score for score in run.scores if not _faulty(score) and _talk(run, score)] if run else []
    scores.sort(key=lambda score: (split_order(score["split"]), -score["turns"], score["id"]))
    seen = list({score["outcome_expected"]: score for score in reversed(scores)}.values())[::-1]
    rest = [score for score in scores if score not in seen]
    return [transcript(run, score) for score in [*seen, *rest][:GOOD]]


def mistakes(run: Run | None) -> list[dict]:
    """Return the most frequent wrong steps of a run: {after, expected, heard, count}."""
    wrong = Counter(
        (step["after"], step["expected"], step["heard"])
        for score in (run.scores if run else ())
        for step in score["steps"]
        if not step["legal"]
    )
    ranked = sorted(wrong.items(), key=lambda item: (-item[1], item[0]))[:MISTAKES]
    return [{"after": a, "expected": e, "heard": h, "count": count} for (a, e, h), count in ranked]


def transcript(run: Run, score: dict) -> dict:
    """Return what the page shows of one dialogue: its score, and its turns with the judged steps."""
    steps = {step["turn"]: step for step in score["steps"]}
    talk = run.dialogues[score["id"]]
    turns = [
        {key: turn[key] for key in ("role", "content", "nodes", "call")} | {"step": steps.get(index)}
        for index, turn in enumerate(talk["turns"])
    ]
    return {"run": run.name, "score": score, "stopped": talk["stopped"], "turns": turns}


def _talk(run: Run, score: dict) -> dict | None:
    return run.dialogues.get(score["id"])


def _faulty(score: dict) -> bool:
    return not score["conforming"] or any(score[f"{what}_correct"] < score[f"{what}_total"] for what in COUNTED)


def _badness(score: dict) -> tuple[float, float, str]:
    steps = score["legal_steps"] / score["steps_total"] if score["steps_total"] else 0.0
    values = score["values_correct"] / score["values_total"] if score["values_total"] else 1.0
    return steps, values, score["id"]
