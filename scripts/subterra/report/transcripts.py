"""The talks that a reader should see: the worst, the wrong step marked, a few good ones, and a page of all of them."""

import re

from subterra.agreement import disagreements
from subterra.report.headline import headline, order, split_order
from subterra.report.inputs import Evidence, Key, Run, key_of
from subterra.report.summary import COUNTED

GOOD = 3
OTHERS = 40  # talks of other runs that a page of all talks shows, beside the headline's


def worst(evidence: Evidence) -> list[dict]:
    """Return the worst transcripts, at most `evidence.worst`: those that broke the procedure, then those that
    lost a value; within both, the headline's run first and the least share of right steps first."""
    best = headline(evidence)
    found = [(run, score) for run in evidence.runs for score in run.scores if _faulty(score) and _talk(run, score)]
    found.sort(key=lambda pair: (pair[1]["conforming"], pair[0] is not best, *_badness(pair[1])))
    return [transcript(evidence, run, score) for run, score in found[: evidence.worst]]


def good(evidence: Evidence) -> list[dict]:
    """Return up to three faultless transcripts of the headline's run, of different outcomes if it can."""
    run = headline(evidence)
    scores = [score for score in run.scores if not _faulty(score) and _talk(run, score)] if run else []
    scores.sort(key=lambda score: (split_order(score["split"]), -score["turns"], *key_of(score)))
    seen = list({score["outcome_expected"]: score for score in reversed(scores)}.values())[::-1]
    rest = [score for score in scores if score not in seen]
    return [transcript(evidence, run, score) for score in [*seen, *rest][:GOOD]]


def every(evidence: Evidence) -> list[dict]:
    """Return the transcripts for a page of all talks, the most telling first, so that a page may end anywhere.

    All of the headline's run, those that broke the procedure first; between them and the faultless, of other runs those
    that the report speaks of: the worst, and those of which judge and machine think otherwise.
    """
    first = headline(evidence)
    if first is None:
        return []
    ours = sorted((s for s in first.scores if _talk(first, s)), key=lambda s: (s["conforming"], not _faulty(s)))
    others = [(first, score) for score in ours if _faulty(score)]
    others += [(run, score) for run, score in _spoken_of(evidence) if run is not first]
    others += [(first, score) for score in ours if not _faulty(score)]
    return [transcript(evidence, run, score) for run, score in others]


def apart(evidence: Evidence) -> list[dict]:
    """Return the dialogues of which judge and machine think otherwise, each with its `anchor`; the headline's first."""
    runs = sorted(evidence.runs, key=lambda run: order(run.condition, run.temperature))
    rows = []
    for run in runs:
        judged = [row for row in run.judgements if row["judge"] == run.judges[0]]
        for row in disagreements(judged, run.scores):
            rows.append(row | {"run": run.name, "anchor": anchor(evidence, run, key_of(row))})
    return rows


def anchor(evidence: Evidence, run: Run, key: Key) -> str:
    """Return the name that a talk has in links: "talk-{id}-{trial}", of other runs than the headline's with the run."""
    whose = "" if run is headline(evidence) else f"{run.condition}-{run.temperature:g}-"
    return re.sub(r"[^A-Za-z0-9_.-]", "_", f"talk-{whose}{key[0]}-{key[1]}")


def transcript(evidence: Evidence, run: Run, score: dict) -> dict:
    """Return what a page shows of one dialogue: its score, its judgements, and its turns with the judged steps."""
    steps = {step["turn"]: step for step in score["steps"]}
    key = key_of(score)
    talk = run.dialogues[key]
    turns = [
        {key: turn[key] for key in ("role", "content", "nodes", "call")} | {"step": steps.get(index)}
        for index, turn in enumerate(talk["turns"])
    ]
    judged = run.judged.get(key, [])
    parted = bool(judged) and judged[0]["failed"] is not None and judged[0]["failed"] == score["conforming"]
    return {
        "run": run.name,
        "anchor": anchor(evidence, run, key),
        "ours": run is headline(evidence),
        "score": score,
        "stopped": talk["stopped"],
        "turns": turns,
        "judged": judged,
        "kind": "bad" if not score["conforming"] else "lost" if _faulty(score) else "good",
        "parted": parted,
    }


def _spoken_of(evidence: Evidence) -> list[tuple[Run, dict]]:
    by_anchor = {anchor(evidence, run, key_of(score)): (run, score) for run in evidence.runs for score in run.scores}
    names = [talk["anchor"] for talk in worst(evidence)] + [row["anchor"] for row in apart(evidence)]
    found = [by_anchor[name] for name in dict.fromkeys(names)]
    return [(run, score) for run, score in found if run is not headline(evidence) and _talk(run, score)][:OTHERS]


def _talk(run: Run, score: dict) -> dict | None:
    return run.dialogues.get(key_of(score))


def _faulty(score: dict) -> bool:
    return not score["conforming"] or any(score[f"{what}_correct"] < score[f"{what}_total"] for what in COUNTED)


def _badness(score: dict) -> tuple[float, float, str, int]:
    steps = score["legal_steps"] / score["steps_total"] if score["steps_total"] else 0.0
    values = score["values_correct"] / score["values_total"] if score["values_total"] else 1.0
    return steps, values, *key_of(score)
