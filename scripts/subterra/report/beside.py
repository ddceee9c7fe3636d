"""The paper's table for an agent's domain with ours in it, and what can be compared of the two."""

from subterra.report.formats import family, money, times
from subterra.report.tables import criterion_row, first_of_each, judged_row
from subterra.verdicts import CRITERIA

STAGES = (  # of a recompile: the paper's name, ours, what the paper's is for
    ("data", ("converse", "assemble"), "1,600 conversations"),
    ("training", ("train", "export"), "12 epochs"),
    ("check", ("evaluate",), "50 scenarios"),
)


def beside(summary: dict, paper: dict) -> dict | None:
    """Return the paper's table with ours in it: {columns, rows, notes}; None for an agent that the paper has not."""
    theirs = paper["agents"].get(summary["agent"])
    if not theirs:
        return None
    ran = {family(row["condition"]): row for row in reversed(first_of_each(summary))}
    costs = summary["costs"]
    told = {family(row["condition"]): row for row in reversed(costs.get("conditions", []))}
    columns = [
        {"name": name, "ours": ran[name]["condition"] if name in ran else None, "paper": figures}
        for name, figures in theirs["conditions"].items()
    ]
    rows = [
        (name.replace("_", " ").capitalize(), [_cell_of_judge(summary, ran, c, name) for c in columns])
        for name in CRITERIA
    ]
    rows += [("Failures", [_failures(summary, ran, column) for column in columns])]
    rows += [
        (f"{name.capitalize()} a conversation", [_mean(ran, column, name) for column in columns])
        for name in ("turns", "seconds")
    ]
    rows += [("Cost a conversation", [_cost(told, column) for column in columns])]
    ratio = next((row for row in costs.get("against", ()) if row["condition"] == "in_context"), None)
    return {"columns": columns, "rows": rows, "theirs": theirs, "ratio": ratio, "notes": _notes(summary, paper, theirs)}


def recompile(summary: dict, paper: dict) -> list[dict]:
    """Return the time of each part of a recompile beside the paper's minutes; nothing where no stage was timed."""
    seconds = {row["stage"]: row["seconds"] for row in summary["stages"]}
    rows = [
        {
            "part": part,
            "stages": ours,
            "for": what,
            "seconds": sum(seconds.get(one, 0.0) for one in ours),
            "paper": paper["recompile"][part],
        }
        for part, ours, what in STAGES
    ]
    if not any(row["seconds"] for row in rows):
        return []
    total = sum(row["seconds"] for row in rows)
    return [*rows, {"part": "all", "stages": (), "for": "", "seconds": total, "paper": paper["recompile"]["all"]}]


def _cell_of_judge(summary: dict, ran: dict, column: dict, name: str) -> dict:
    row = ran.get(column["name"])
    one = criterion_row(judged_row(summary, row), name) if row else None
    paper = column["paper"].get(name)
    return {"ours": f"{one['mean']:.2f}" if one else "not judged" if row else "not run", "paper": _two(paper)}


def _failures(summary: dict, ran: dict, column: dict) -> dict:
    row = ran.get(column["name"])
    judged = judged_row(summary, row) if row else None
    share = f"{100 * judged['failed'] / judged['conversations']:.1f} %" if judged and judged["conversations"] else None
    paper = column["paper"].get("failures")
    told = share or ("not judged" if row else "not run")
    return {"ours": told, "paper": None if paper is None else f"{100 * paper:.1f} %"}


def _mean(ran: dict, column: dict, name: str) -> dict:
    row, paper = ran.get(column["name"]), column["paper"].get(name)
    value = row[f"{name}_mean"] if row else None
    written = "not run" if value is None else f"{value:.1f}" if value >= 1 else f"{value:.2g}"
    return {"ours": written, "paper": None if paper is None else f"{paper:g}"}


def _cost(told: dict, column: dict) -> dict:
    row, paper = told.get(column["name"]), column["paper"].get("dollars")
    ours = "not run" if row is None else money(row["dollars"]) + (" counted" if row["how"] == "counted" else "")
    return {"ours": ours, "paper": None if paper is None else f"${paper:g}"}


def _two(value: float | None) -> str | None:
    return None if value is None else f"{value:.2f}"


def _notes(summary: dict, paper: dict, theirs: dict) -> list[str]:
    """Return what is comparable and what is not, a sentence each."""
    size, base = summary["training"].get("parameters"), summary["training"].get("base", "")
    customers = sorted({row["customer"] for row in summary["overall"] if row["customer"]})
    judge = next((row["judge"] for row in summary["judgements"]), None)
    costs = summary["costs"]
    notes = []
    if size:
        notes.append(
            f"Model: ours has {size:,} parameters ({base}), the paper's {theirs['parameters']} ({theirs['base']})."
        )
    if customers == ["scripted"]:
        notes.append(
            "Customer: ours says its scenario's lines whatever is answered, the paper's is a model; so turns, and how "
            "a talk goes on after a mistake, are not alike."
        )
    elif customers:
        notes.append(f"Customer: a model in both ({', '.join(customers)} here).")
    if judge:
        notes.append(
            f"Judge: {judge} here, another model there: the order of conditions can be compared, a digit cannot."
        )
    else:
        notes.append(
            "Judge: not run here, so criteria and failures are the paper's alone. Ours is conformance, by machine."
        )
    if costs.get("machine"):
        machine, hour = costs["machine"]["name"], money(costs["machine"]["dollars_an_hour"])
        notes.append(
            f"Cost: compiled is the time of {machine} here ({hour} an hour), tokens on an A100 there; the frontier "
            f"model's price is that of {costs['frontier']['model']}."
        )
    ratio = next((row for row in costs.get("against", ()) if row["condition"] == "in_context"), None)
    if ratio and (there := ratio.get("ratio_at_the_papers_prices")):
        notes.append(
            f"At the paper's prices for tokens on both sides, in context costs {times(there)} times as much as "
            f"compiled here, and {theirs['ratio']} times there."
        )
    return notes
