"""The pages, from a summary and the evidence behind it. Templates escape all but our own SVG."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from subterra.picture import percent, svg
from subterra.report import beside, charts, failures, pictures, plots, tables, transcripts
from subterra.report.formats import FILTERS, OVER, megabytes, shown
from subterra.report.headline import compared, headline, order, preference, split_order
from subterra.report.inputs import Evidence, temperature_name

TEMPLATES = Path(__file__).resolve().parent
PAGE, TALKS, OVERVIEW = "page.html.j2", "transcripts.html.j2", "overview.html.j2"
MOST_BYTES = 4_800_000  # of all talks together
APART = 12  # dialogues of which judge and machine think otherwise

COUNTS = (
    ("Values said", "values_correct", "values_total"),
    ("Facts", "facts_correct", "facts_total"),
    ("Tool arguments", "arguments_correct", "arguments_total"),
    ("Interruptions handled", "interruptions_handled", "interruptions_total"),
)


def render(summary: dict, evidence: Evidence, kept: frozenset[str] = frozenset()) -> str:
    """Return the page of one agent: one file, no network, no script. `kept` are the talks that can be linked to."""
    from markupsafe import Markup

    run = headline(evidence)
    rows = [shown(row) for row in headline_rows(summary)]
    marks = pictures.marks(summary, evidence.paper)
    return (
        _environment()
        .get_template(PAGE)
        .render(
            summary=summary,
            verdict=verdict(summary),
            run=run,
            head_rows=rows,
            known=rows[0] if rows else None,
            seconds=sum(stage["seconds"] for stage in summary["stages"]),
            flowcharts=[(one, Markup(drawn)) for one, drawn in _flowcharts(evidence)],
            loss=Markup(charts.loss_curve(evidence.loss)),
            quality=_both(plots.quality_cost, marks["marks"], marks["lanes"], pictures.share_axis(marks["marks"])),
            judged=_both(plots.quality_cost, marks["judged"], marks["lanes"][:1], pictures.score_axis()),
            totals=_both(plots.total_costs, *pictures.lines(summary)),
            conditions=tables.conditions(summary),
            criteria=tables.criteria(summary),
            differences=tables.differences(summary),
            against=tables.against(summary),
            dearest=tables.dearest(summary),
            passes=tables.passes(summary),
            cost_rows=sorted(summary["costs"].get("conditions", ()), key=lambda row: preference(row["condition"])),
            paper=evidence.paper,
            beside=beside.beside(summary, evidence.paper),
            recompile=beside.recompile(summary, evidence.paper),
            runs=_runs(summary["evaluation"]),
            more=[
                (right, total, name)
                for name, right, total in COUNTS[1:]
                if any(row[total] for row in summary["evaluation"])
            ],
            groups=_groups(summary["evaluation"]),
            mistakes=failures.mistakes(run),
            nodes=failures.worst_nodes(evidence.flowchart, run) if run else [],
            ways=failures.worst_ways(evidence.flowchart, run) if run else [],
            apart=transcripts.apart(evidence),
            most_apart=APART,
            worst=transcripts.worst(evidence),
            good=transcripts.good(evidence),
            stages=_stages(summary["stages"]),
            kept=kept,
            anchor=lambda key: transcripts.anchor(evidence, run, key),
        )
    )


def render_transcripts(summary: dict, evidence: Evidence) -> tuple[str, frozenset[str]]:
    """Return the page of all talks, as many as MOST_BYTES hold, and the anchors of those on it."""
    talk = _environment().get_template("parts.html.j2").module.talk
    talks, size = [], 0
    told = transcripts.every(evidence)
    for one in told:
        html = talk(one, False, True)
        size += len(html.encode())
        if size > MOST_BYTES:
            break
        talks.append(one | {"html": html})
    kept = frozenset(one["anchor"] for one in talks)
    page = _environment().get_template(TALKS)
    groups = _by_split(talks)
    run = headline(evidence)
    return page.render(summary=summary, run=run, talks=talks, groups=groups, left_out=len(told) - len(talks)), kept


def render_overview(summaries: Sequence[dict]) -> str:
    """Return the page over all agents, with a link to `{agent}/report.html` each."""
    agents = [_at_a_glance(summary) for summary in sorted(summaries, key=lambda summary: summary["agent"])]
    splits = sorted({split for agent in agents for split in agent["cells"]}, key=split_order)
    counted = [name for name, _, _ in COUNTS if any(name in agent["counted"] for agent in agents)]
    return _environment().get_template(OVERVIEW).render(agents=agents, splits=splits, counted=counted)


def verdict(summary: dict) -> str:
    """Return the one sentence: how many conversations kept to the procedure, of how many, under what."""
    rows = headline_rows(summary)
    if not rows:
        return "Not run: no conversation with the compiled model has been measured yet."
    first = rows[0]
    size = f" ({megabytes(first['file_bytes'])})" if first["file_bytes"] else ""
    parts = [
        f"{row['conforming']} of {row['conversations']} conversations {OVER.get(row['split'], 'over ' + row['split'])}"
        for row in rows
    ]
    told = shown(first)
    parts[0] += f" (95 % interval {told['low']:.1f} to {told['high']:.1f} %)"
    sentence = ", ".join(parts[:-1]) + (" and " if len(parts) > 1 else "") + parts[-1]
    name = f"{first['condition']}{size}, {temperature_name(first['temperature'])}"
    return f"{name}, kept to the procedure in {sentence}."


def headline_rows(summary: dict) -> list[dict]:
    """Return the rows of the run that the verdict speaks of, by the rule of `headline`."""
    rows = summary["evaluation"]
    key = min((order(row["condition"], row["temperature"]) for row in rows), default=None)
    return [row for row in rows if order(row["condition"], row["temperature"]) == key]


@cache
def _environment():
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= FILTERS
    environment.globals |= {"percent": percent, "measure_name": tables.measure_name}
    return environment


def _both(draw, *what):
    """Return a picture twice, for a laptop and for a phone; the page shows the one that fits."""
    from markupsafe import Markup

    return Markup("".join(draw(*what, width) for width in (plots.WIDE, plots.NARROW)))


def _flowcharts(evidence: Evidence) -> list[tuple]:
    """Return (run, picture) for the headline and one run of every other condition; (None, picture) without any."""
    first = headline(evidence)
    if first is None:
        return [(None, svg(evidence.flowchart))]
    drawn = [
        (run, svg(evidence.flowchart, failures.rates(evidence.flowchart, run.scores)))
        for run in (first, *compared(evidence))
    ]
    # Each picture has an arrow of its own: what is not shown lends none.
    return [
        (
            run,
            text.replace('id="fc-arrow"', f'id="fc-arrow-{number}"').replace(
                "url(#fc-arrow)", f"url(#fc-arrow-{number})"
            ),
        )
        for number, (run, text) in enumerate(drawn)
    ]


def _at_a_glance(summary: dict) -> dict:
    rows = headline_rows(summary)
    run = next((one for one in tables.conditions(summary) if rows and _same(one, rows[0])), None)
    passes = [row for row in tables.passes(summary) if rows and row["condition"] == rows[0]["condition"]]
    return {
        "summary": summary,
        "verdict": verdict(summary),
        "cells": {row["split"]: shown(row) for row in rows},
        "counted": _counted(rows),
        "size": next((row["file_bytes"] for row in rows), None),
        "seconds": sum(stage["seconds"] for stage in summary["stages"]),
        "run": run,
        "judged": run["judged"] if run else None,
        "dearest": tables.dearest(summary),
        "passes": passes[0] if passes else None,
    }


def _same(one: dict, other: dict) -> bool:
    return all(one[key] == other[key] for key in ("condition", "temperature"))


def _by_split(talks: list[dict]) -> list[dict]:
    """Return the talks by split and by the outcome that the scenario implies; those of other runs last of all."""
    found = []
    names = sorted({one["score"]["split"] for one in talks if one["ours"]}, key=split_order)
    for split in names:
        members = [one for one in talks if one["ours"] and one["score"]["split"] == split]
        found.append(_group(split, members))
    others = [one for one in talks if not one["ours"]]
    return [*found, _group("others", others)] if others else found


def _group(name: str, talks: list[dict]) -> dict:
    outcomes: dict[str, list[dict]] = {}
    for one in sorted(
        talks, key=lambda one: (one["score"]["outcome_expected"], one["kind"] == "good", one["kind"] != "bad")
    ):
        outcomes.setdefault(one["score"]["outcome_expected"], []).append(one)
    return {"name": name, "outcomes": outcomes, "talks": [one for rows in outcomes.values() for one in rows]}


def _counted(rows: list[dict]) -> dict[str, tuple[int, int]]:
    """Return (right, asked) of what is counted beside conformance, over all splits; nothing where nobody asked."""
    found = {name: (sum(row[right] for row in rows), sum(row[total] for row in rows)) for name, right, total in COUNTS}
    return {name: pair for name, pair in found.items() if pair[1]}


def _runs(rows: list[dict]) -> list[list[dict]]:
    """Return the rows of each condition and temperature together, in the order they come in."""
    found: dict[tuple[str, float], list[dict]] = {}
    for row in rows:
        found.setdefault((row["condition"], row["temperature"]), []).append(shown(row))
    return list(found.values())


def _groups(rows: list[dict]) -> list[tuple[str, list[dict]]]:
    """Return the rows by split, for the picture of dots and bars."""
    splits = sorted({row["split"] for row in rows}, key=split_order)
    return [(split, [shown(row) for row in rows if row["split"] == split]) for split in splits]


def _stages(stages: list[dict]) -> list[dict]:
    total = sum(stage["seconds"] for stage in stages) or 1.0
    return [stage | {"share": 100 * stage["seconds"] / total} for stage in stages]
