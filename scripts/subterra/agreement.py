"""Whether two judges agree, and where a judge and the machine (conformance) do not.

A judge reads for sense and the machine for the procedure's letter: where they part, a person should look.
"""

from collections.abc import Mapping, Sequence

from subterra.verdicts import CRITERIA, HIGHEST, LOWEST

Key = tuple[str, str, float, int]  # of a dialogue, over all tables: id, condition, temperature, trial


def agreement(judgements: Sequence[Mapping], scores: Sequence[Mapping]) -> dict | None:
    """Return {judges, criteria, machine} of records.JUDGEMENT and records.SCORE rows; None where nothing was judged.

    `judges` come as they appear; `criteria` is the agreement of the first two (see `between_judges`; empty for one
    judge), `machine` that of the first with the machine (see `with_machine`).
    """
    judges = list(dict.fromkeys(row["judge"] for row in judgements))
    if not judges:
        return None
    by_judge = [[row for row in judgements if row["judge"] == judge] for judge in judges]
    return {
        "judges": judges,
        "criteria": between_judges(*by_judge[:2]) if len(judges) > 1 else [],
        "machine": with_machine(by_judge[0], scores),
    }


def between_judges(first: Sequence[Mapping], second: Sequence[Mapping]) -> list[dict]:
    """Return {criterion, conversations, kappa} for each criterion, over the dialogues that both have judged."""
    others = {_key(row): row for row in second}
    pairs = [(_scores(row), _scores(others[_key(row)])) for row in first if _key(row) in others]
    pairs = [pair for pair in pairs if all(pair)]
    return [
        {
            "criterion": name,
            "conversations": len(pairs),
            "kappa": weighted_kappa([one[name] for one, _ in pairs], [other[name] for _, other in pairs]),
        }
        for name in CRITERIA
    ]


def weighted_kappa(left: Sequence[int], right: Sequence[int]) -> float | None:
    """Return Cohen's kappa with quadratic weights (Cohen 1968); None without ratings, or where all are the same.

    It is one less the squared differences over what they would be were the pairs put together by chance.

    >>> weighted_kappa([1, 2, 2, 1], [1, 2, 1, 1])
    0.5
    """
    seen = sum((one - other) ** 2 for one, other in zip(left, right, strict=True))
    squares = sum(one**2 for one in (*left, *right))
    chance = len(left) * squares - 2 * sum(left) * sum(right)  # of each with each
    return 1 - seen * len(left) / chance if chance else None


def with_machine(judgements: Sequence[Mapping], scores: Sequence[Mapping]) -> dict[str, int]:
    """Return how many dialogues both, neither, the judge alone and the machine alone find good, of one judge.

    Good is what has not failed to the judge, and what conforms to the machine.
    """
    counts = dict.fromkeys(("both_good", "both_bad", "judge_good", "machine_good"), 0)
    for judged, scored in _judged_and_scored(judgements, scores):
        counts[_verdicts(judged, scored)] += 1
    return counts


def disagreements(judgements: Sequence[Mapping], scores: Sequence[Mapping]) -> list[dict]:
    """Return the dialogues of which judge and machine think otherwise, those that are farthest apart first.

    Rows of {id, split, condition, temperature, trial, judge, good ("judge" or "machine"), task_success, reason,
    justification, apart}. `apart`, 0 to 1, lies between task success, put on 0 to 1, and the share of legal turns.
    """
    found = [
        _disagreement(judged, scored)
        for judged, scored in _judged_and_scored(judgements, scores)
        if judged["failed"] == scored["conforming"]
    ]
    return sorted(found, key=lambda row: (-row["apart"], *_key(row), row["judge"]))


def _disagreement(judged: Mapping, scored: Mapping) -> dict:
    success = next(one for one in judged["criteria"] if one["criterion"] == "task_success")
    legal = scored["legal_steps"] / scored["steps_total"] if scored["steps_total"] else 0.0
    return {
        **{key: judged[key] for key in ("id", "split", "condition", "temperature", "trial", "judge")},
        "good": "machine" if scored["conforming"] else "judge",
        "task_success": success["score"],
        "reason": success["reason"],
        "justification": scored["justification"],
        "apart": abs((success["score"] - LOWEST) / (HIGHEST - LOWEST) - legal),
    }


def _verdicts(judged: Mapping, scored: Mapping) -> str:
    if judged["failed"] != scored["conforming"]:
        return "both_bad" if judged["failed"] else "both_good"
    return "machine_good" if judged["failed"] else "judge_good"


def _judged_and_scored(judgements: Sequence[Mapping], scores: Sequence[Mapping]) -> list[tuple[Mapping, Mapping]]:
    """Return the rows that belong together, without dialogues of which there is no verdict or no score."""
    scored = {_key(row): row for row in scores}
    return [(row, scored[_key(row)]) for row in judgements if row["failed"] is not None and _key(row) in scored]


def _scores(row: Mapping) -> dict[str, int]:
    return {one["criterion"]: one["score"] for one in row["criteria"]}


def _key(row: Mapping) -> Key:
    return row["id"], row["condition"], row["temperature"], row["trial"]
