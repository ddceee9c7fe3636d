"""What the page shows side by side: conditions, criteria, differences, and what the others cost against ours."""

import math

from subterra.report.formats import effect_words, shown
from subterra.report.headline import ALL, order, preference
from subterra.verdicts import CRITERIA, HIGHEST, LOWEST

CERTAIN = 0.05
MEASURES = {
    "conforming": ("Kept to the procedure", "keeps to the procedure more often", "keeps to the procedure less often"),
    "right_end": ("Reached the right end", "reaches the right end more often", "reaches the right end less often"),
    "values_said": ("Share of values said", "says more of the values", "says fewer of the values"),
    "turns": ("Turns", "takes more turns", "takes fewer turns"),
    "seconds": ("Seconds", "is slower", "is faster"),
}


def conditions(summary: dict) -> list[dict]:
    """Return a row a condition and temperature: those that were run, then those that were counted, then the rest.

    Each has condition, temperature (None where not run), how ("run", "counted" or "not run"), run (the row of
    `overall`, shown), judged (the first judge's row, None for none) and cost (of costs.json, None for none).
    """
    rows = [
        {
            "condition": row["condition"],
            "temperature": row["temperature"],
            "how": "run",
            "run": shown(row),
            "judged": judged_row(summary, row),
            "cost": None,
        }
        for row in sorted(summary["overall"], key=_by_condition)
    ]
    costs = {row["condition"]: row for row in summary["costs"].get("conditions", ()) if row["how"] == "counted"}
    absent = sorted(
        {*summary["not_run"], *costs} - {row["condition"] for row in rows}, key=lambda name: (name not in costs, name)
    )
    nothing = {"temperature": None, "run": None, "judged": None}
    return rows + [
        {"condition": name, "how": "counted" if name in costs else "not run", "cost": costs.get(name)} | nothing
        for name in absent
    ]


def criteria(summary: dict) -> list[dict]:
    """Return, for each criterion, the runs with mean and interval by the first judge, on a scale of 0 to 100."""
    told = [row for row in (judged_row(summary, run) for run in summary["overall"]) if row and row["criteria"]]
    told.sort(key=_by_condition)

    def scaled(value: float) -> float:
        return 100 * (value - LOWEST) / (HIGHEST - LOWEST)

    return [
        {
            "criterion": name,
            "runs": [
                {"condition": row["condition"], "temperature": row["temperature"], "mean": one["mean"]}
                | {key: scaled(one[key]) for key in ("low", "high")}
                | {"rate": scaled(one["mean"]), "told": [one["low"], one["high"]]}
                for row in told
                for one in row["criteria"]
                if one["criterion"] == name
            ],
        }
        for name in (CRITERIA if told else ())
    ]


def differences(summary: dict) -> list[dict]:
    """Return, for each other condition, its comparisons with the headline's, and what they say in words."""
    found: dict[str, list[dict]] = {}
    for row in summary["comparisons"]:
        found.setdefault(row["right"]["condition"], []).append(row)
    return [_difference(rows) for _, rows in sorted(found.items(), key=lambda item: preference(item[0]))]


def _difference(rows: list[dict]) -> dict:
    certain = [row for row in rows if row["p_adjusted"] < CERTAIN]
    rest = [row for row in rows if row["p_adjusted"] >= CERTAIN]
    told = [_in_words(row) for row in certain if row["measure"] in MEASURES]
    told += filter(None, [_scores(certain, word, sign) for word, sign in (("higher", 1), ("lower", -1))])
    return {
        "left": rows[0]["left"],
        "right": rows[0]["right"],
        "rows": [row | {"name": measure_name(row["measure"])} for row in rows],
        "told": told,
        "rest": [measure_name(row["measure"]).lower() for row in rest],
    }


def _in_words(row: dict) -> str:
    words = MEASURES[row["measure"]][1 if row["difference"] > 0 else 2]
    return f"{words} ({effect_words(row['effect'])})"


def _scores(rows: list[dict], word: str, sign: int) -> str:
    """Return in which criteria a judge scores us higher, or lower; "" for none."""
    found = [row for row in rows if row["measure"] in CRITERIA and sign * row["difference"] > 0]
    names = [f"{measure_name(row['measure']).lower()} ({effect_words(row['effect'])})" for row in found]
    return f"scores {word} in {', '.join(names)}" if names else ""


def measure_name(measure: str) -> str:
    """Return what a compared measure is called."""
    return MEASURES[measure][0] if measure in MEASURES else measure.replace("_", " ").capitalize()


def against(summary: dict) -> list[dict]:
    """Return the comparisons of costs.json with those that are not compiled, and what the break-even says in words."""
    rows = [row for row in summary["costs"].get("against", ()) if not row["condition"].startswith("compiled-")]
    return [row | {"pays": _pays(row["break_even"])} for row in rows]


def dearest(summary: dict) -> dict | None:
    """Return the comparison of costs that a glance shows: with the whole procedure in context, else the first."""
    rows = [row for row in against(summary) if row.get("ratio")]
    return next((row for row in rows if row["condition"] == "in_context"), next(iter(rows), None))


def passes(summary: dict) -> list[dict]:
    """Return the rows of pass^k, the widest split of a run first, in the order of runs."""
    return sorted(
        summary["reliability"], key=lambda row: (*order(row["condition"], row["temperature"]), row["split"] != ALL)
    )


def _pays(break_even: float | None) -> str:
    if break_even is None:
        return "never"
    return "from the first conversation on" if break_even <= 1 else f"from {math.ceil(break_even):,} conversations on"


def _by_condition(row: dict) -> tuple:
    return *preference(row["condition"]), row["temperature"]


def first_of_each(summary: dict) -> list[dict]:
    """Return each condition's first run in the order of runs, shown."""
    found: dict[str, dict] = {}
    for row in sorted(summary["overall"], key=lambda row: order(row["condition"], row["temperature"])):
        found.setdefault(row["condition"], shown(row))
    return list(found.values())


def judged_row(summary: dict, row: dict) -> dict | None:
    """Return the first judge's row of a run; None where none read it."""
    where = (row["condition"], row["temperature"])
    rows = [one for one in summary["judgements"] if (one["condition"], one["temperature"]) == where]
    return next((one for one in rows if one["conversations"]), None)


def criterion_row(judged: dict | None, name: str) -> dict | None:
    """Return a criterion's mean and interval of a judge's row; None where there is none."""
    return next((one for one in judged["criteria"] if one["criterion"] == name), None) if judged else None
