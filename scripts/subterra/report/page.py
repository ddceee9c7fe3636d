"""The pages, from a summary and the evidence behind it. Templates escape all but our own SVG."""

from collections.abc import Sequence
from pathlib import Path

from subterra.picture import percent, svg
from subterra.report import charts, transcripts
from subterra.report.inputs import Evidence, temperature_name
from subterra.report.summary import headline, preference, rates, split_order
from subterra.statistics import wilson

TEMPLATES = Path(__file__).resolve().parent
PAGE, OVERVIEW = "page.html.j2", "overview.html.j2"

SPLIT_NAMES = {
    "known": "known paths",
    "held_out_paths": "held-out paths",
    "held_out_values": "held-out values",
    "held_out_phrasings": "held-out phrasings",
    "interruptions": "interruptions",
    "train": "training",
    "valid": "validation",
}
COUNTS = (
    ("Values said", "values_correct", "values_total"),
    ("Facts", "facts_correct", "facts_total"),
    ("Tool arguments", "arguments_correct", "arguments_total"),
    ("Interruptions handled", "interruptions_handled", "interruptions_total"),
)
OVER = {
    "known": "over known paths",
    "held_out_paths": "over held-out paths",
    "held_out_values": "with held-out values",
    "held_out_phrasings": "with held-out phrasings",
    "interruptions": "with an interruption",
}


def render(summary: dict, evidence: Evidence) -> str:
    """Return the page of one agent: one file, no network, no script."""
    from markupsafe import Markup

    run = headline(evidence)
    shown = [_shown(row) for row in _headline_rows(summary)]
    return (
        _environment()
        .get_template(PAGE)
        .render(
            summary=summary,
            verdict=verdict(summary),
            run=run,
            head_rows=shown,
            known=shown[0] if shown else None,
            seconds=sum(stage["seconds"] for stage in summary["stages"]),
            picture=Markup(svg(evidence.flowchart, rates(evidence.flowchart, run.scores) if run else None)),
            loss=Markup(charts.loss_curve(evidence.loss)),
            runs=_runs(summary["evaluation"]),
            more=[
                (right, total, name)
                for name, right, total in COUNTS[1:]
                if any(row[total] for row in summary["evaluation"])
            ],
            groups=_groups(summary["evaluation"]),
            mistakes=transcripts.mistakes(run),
            worst=transcripts.worst(evidence),
            good=transcripts.good(evidence),
            stages=_stages(summary["stages"]),
        )
    )


def render_overview(summaries: Sequence[dict]) -> str:
    """Return the page over all agents, with a link to `{agent}/report.html` each."""
    agents = [
        {
            "summary": summary,
            "verdict": verdict(summary),
            "cells": {row["split"]: _shown(row) for row in _headline_rows(summary)},
            "counted": _counted(_headline_rows(summary)),
            "size": next((row["file_bytes"] for row in _headline_rows(summary)), None),
            "seconds": sum(stage["seconds"] for stage in summary["stages"]),
        }
        for summary in sorted(summaries, key=lambda summary: summary["agent"])
    ]
    splits = sorted({split for agent in agents for split in agent["cells"]}, key=split_order)
    counted = [name for name, _, _ in COUNTS if any(name in agent["counted"] for agent in agents)]
    return _environment().get_template(OVERVIEW).render(agents=agents, splits=splits, counted=counted)


def verdict(summary: dict) -> str:
    """Return the one sentence: how many conversations kept to the procedure, of how many, under what."""
    rows = _headline_rows(summary)
    if not rows:
        return "Not run: no conversation with the compiled model has been measured yet."
    first = rows[0]
    size = f" ({megabytes(first['file_bytes'])})" if first["file_bytes"] else ""
    parts = [
        f"{row['conforming']} of {row['conversations']} conversations {OVER.get(row['split'], 'over ' + row['split'])}"
        for row in rows
    ]
    low, high = wilson(first["conforming"], first["conversations"])
    parts[0] += f" (95 % interval {100 * low:.1f} to {100 * high:.1f} %)"
    told = ", ".join(parts[:-1]) + (" and " if len(parts) > 1 else "") + parts[-1]
    name = f"{first['condition']}{size}, {temperature_name(first['temperature'])}"
    return f"{name}, kept to the procedure in {told}."


def megabytes(size: int) -> str:
    """Return a file size in MB (10^6 bytes).

    >>> megabytes(5_120_000)
    '5.1 MB'
    """
    return f"{size / 1e6:,.1f} MB"


def duration(seconds: float) -> str:
    """Return seconds as people say them.

    >>> duration(8.25), duration(75), duration(7260)
    ('8.2 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def plain(value) -> str:
    """Return a number with separators and at most four digits that matter, anything else as it is."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value)


def _environment():
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"mb": megabytes, "duration": duration, "plain": plain, "split": _split_name}
    environment.filters |= {
        "temperature": temperature_name,
        "words": lambda text: str(text).replace("_", " "),
    }
    environment.globals |= {"percent": percent}
    return environment


def _split_name(split: str) -> str:
    return SPLIT_NAMES.get(split, split.replace("_", " "))


def _headline_rows(summary: dict) -> list[dict]:
    """Return the rows of the run that the verdict speaks of, by the rule of summary.headline."""
    key = min(((row["temperature"], *preference(row["condition"])) for row in summary["evaluation"]), default=None)
    rows = summary["evaluation"]
    return [row for row in rows if (row["temperature"], *preference(row["condition"])) == key]


def _counted(rows: list[dict]) -> dict[str, tuple[int, int]]:
    """Return (right, asked) of what is counted beside conformance, over all splits; nothing where nobody asked."""
    found = {name: (sum(row[right] for row in rows), sum(row[total] for row in rows)) for name, right, total in COUNTS}
    return {name: pair for name, pair in found.items() if pair[1]}


def _shown(row: dict) -> dict:
    low, high = wilson(row["conforming"], row["conversations"])
    rate = row["conforming"] / row["conversations"]
    early = [(reason, count) for reason, count in row["stopped"].items() if reason != "finished"]
    return row | {"rate": 100 * rate, "low": 100 * low, "high": 100 * high, "early": early}


def _runs(rows: list[dict]) -> list[list[dict]]:
    """Return the rows of each condition and temperature together, in the order they come in."""
    found: dict[tuple[str, float], list[dict]] = {}
    for row in rows:
        found.setdefault((row["condition"], row["temperature"]), []).append(_shown(row))
    return list(found.values())


def _groups(rows: list[dict]) -> list[tuple[str, list[dict]]]:
    """Return the rows by split, for the picture of dots and bars."""
    splits = sorted({row["split"] for row in rows}, key=split_order)
    return [(split, [_shown(row) for row in rows if row["split"] == split]) for split in splits]


def _stages(stages: list[dict]) -> list[dict]:
    total = sum(stage["seconds"] for stage in stages) or 1.0
    return [stage | {"share": 100 * stage["seconds"] / total} for stage in stages]
