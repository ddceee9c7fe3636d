"""What the pictures of cost show: a mark or a line for each condition."""

import math

from subterra.report.formats import family
from subterra.report.plots import Mark, Quality
from subterra.report.tables import criterion_row, first_of_each, judged_row


def marks(summary: dict, paper: dict) -> dict:
    """Return what the pictures of quality against cost show: {marks, judged, lanes}.

    `marks` have the share that conforms, `judged` the judge's task success with the paper's points; `lanes` are the
    conditions of which the cost alone is known here.
    """
    costs = {row["condition"]: row for row in summary["costs"].get("conditions", ())}
    ran, judged = [], []
    for row in first_of_each(summary):
        cost = costs.get(row["condition"])
        if cost is None or cost["how"] != "measured":
            continue
        at = (row["condition"], row["condition"], cost["dollars"], tuple(cost["interval"]))
        ran.append(Mark(*at, row["rate"], (row["low"], row["high"])))
        success = criterion_row(judged_row(summary, row), "task_success")
        if success:
            judged.append(Mark(*at, success["mean"], (success["low"], success["high"])))
    counted = [
        Mark(row["condition"], row["condition"], row["dollars"], tuple(row["interval"]))
        for row in costs.values()
        if row["how"] == "counted"
    ]
    papers = [
        Mark(f"{name} (paper)", name, figures["dollars"], None, figures["task_success"], None, light=True)
        for name, figures in paper["agents"].get(summary["agent"], {}).get("conditions", {}).items()
        if "dollars" in figures
    ]
    alone = [Mark(one.name, one.condition, one.x, light=True) for one in papers]
    lanes = [("counted, not run", counted), ("the paper's, measured otherwise", alone)]
    return {"marks": ran, "judged": [*judged, *papers] if judged else [], "lanes": lanes}


def share_axis(shown_marks: list[Mark]) -> Quality:
    """Return the axis of a share in percent: from 0, or from a tenth below the lowest where all is high."""
    lowest = min((one.y_interval[0] for one in shown_marks), default=0.0)
    low = max(0, math.floor(lowest / 10) * 10 - 10) if lowest > 30 else 0
    step = 10 if low >= 50 else 20
    return Quality("kept to the procedure", low, 100, tuple((at, f"{at} %") for at in range(low, 101, step)))


def score_axis() -> Quality:
    """Return the axis of a judge's score."""
    return Quality("task success, by a judge", 1, 5, tuple((at, str(at)) for at in range(1, 6)))


def lines(summary: dict) -> tuple[list, list]:
    """Return the lines and break-evens of the picture of total costs (see plots.total_costs)."""
    costs = summary["costs"]
    told = [row for row in costs.get("conditions", ()) if not _same_kind(row["condition"], costs.get("headline", ""))]
    once = costs.get("compile", {}).get("dollars", 0.0)
    drawn = [
        (row["condition"], 0.0 if row["condition"] != _ours(costs) else once, row["dollars"], row["how"] == "measured")
        for row in sorted(told, key=lambda row: row["condition"] != _ours(costs))
    ]
    pays = {row["condition"]: row["break_even"] for row in costs.get("against", ())}
    return drawn, [(name, pays[name]) for name, *_ in drawn if pays.get(name)]


def _ours(costs: dict) -> str:
    return costs.get("headline") or next((row["condition"] for row in costs.get("conditions", ())), "")


def _same_kind(condition: str, ours: str) -> bool:
    """Tell whether a condition is another quantization of ours: one line for all of them."""
    return condition != ours and family(condition) == family(ours) == "compiled"
