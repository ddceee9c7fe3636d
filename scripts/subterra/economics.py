"""What conversations cost under each condition, what compiling cost, and from when on that pays.

What was run is reckoned from its own counts: what the provider billed, and the time of this machine at the price of an
hour. Of a condition that was not run, the tokens are counted that it would have sent for the very same dialogues.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from subterra.conditions.replay import CONDITIONS, replay
from subterra.costs import PRICES, Price, Usage, price_of
from subterra.errors import SubterraError, nearest
from subterra.flowchart import Flowchart
from subterra.report.headline import order
from subterra.report.inputs import stage_seconds
from subterra.statistics import bootstrap_mean

PAPER = {"compiled": "compiled-of-the-paper", "frontier": "frontier-of-the-paper"}
COMPILING = ("converse", "assemble", "train", "export")
VOLUMES = (1_000, 10_000, 100_000)

Run = tuple[str, float]
MEANS = ("calls", "tokens_in", "tokens_cached", "tokens_out")


def machine_of(name: str, file: Path = PRICES) -> dict[str, Any]:
    """Return {name, dollars_an_hour, side_by_side, source} of a machine. Raises SubterraError where it has no price."""
    told = yaml.safe_load(file.read_text(encoding="utf-8")).get("machines") or {}
    if name not in told:
        raise SubterraError(f"{file}: no machine '{name}'{nearest(name, told)}: add its price (costs.machine names it)")
    entry = {"name": name, "source": "", "side_by_side": 1} | told[name]
    for key in ("dollars_an_hour", "side_by_side"):
        if type(entry.get(key)) not in (int, float) or entry[key] < (key == "side_by_side"):
            way_out = "write dollars an hour, and how many jobs it runs side by side"
            raise SubterraError(f"{file}: machines.{name}.{key}: '{entry.get(key)}' is no number: {way_out}")
    return entry


def count_costs(
    flowchart: Flowchart,
    scenarios: Sequence[dict],
    runs: Mapping[Run, Sequence[dict]],
    *,
    teacher_dollars: float,
    benchmarks: str | Path,
    machine: str,
    frontier: str,
    tokens: Callable[[str], float],
    tokenizer: str,
) -> dict[str, Any]:
    """Return what the report says of costs, in dollars; all of `conditions` are means over conversations.

    `runs` holds the dialogues by condition and temperature; the compiled one that the report speaks of is compared with
    the others. `frontier` names a price, `tokens` counts those of a text by the `tokenizer` of that name.
    """
    price, host = price_of(frontier), machine_of(machine)
    hosted = host["dollars_an_hour"] / 3600 / host["side_by_side"]
    first = min(runs, key=lambda run: order(*run))
    told = [_measured(run, dialogues, hosted) for run, dialogues in _one_each(runs, first) if dialogues]
    ran = {one["condition"] for one in told}
    others = [name for name in CONDITIONS if name not in ran]
    told += [_counted(name, flowchart, scenarios, runs[first], price, tokens) for name in others]
    stages = {one["stage"]: one["seconds"] for one in stage_seconds(benchmarks)}
    seconds = sum(stages.get(stage, 0.0) for stage in COMPILING)
    compiling = {
        "teacher_dollars": teacher_dollars,
        "machine_seconds": seconds,
        "machine_dollars": seconds * host["dollars_an_hour"] / 3600,
    }
    compiling["dollars"] = compiling["teacher_dollars"] + compiling["machine_dollars"]
    return {
        "frontier": {key: getattr(price, key) for key in ("model", "input", "output", "cached_input", "source")},
        "machine": {key: host[key] for key in ("name", "dollars_an_hour", "side_by_side", "source")},
        "tokenizer": {"name": tokenizer, "bytes_per_token": _bytes_a_token(runs[first], tokens)},
        "headline": first[0],
        "conditions": told,
        "compile": compiling,
        "against": [_against(told[0], other, compiling["dollars"]) for other in told[1:]],
    }


def _one_each(runs: Mapping[Run, Sequence[dict]], first: Run) -> list[tuple[Run, Sequence[dict]]]:
    """Return each condition's run at its lowest temperature, the compiled one that is compared first of all."""
    lowest = {condition: min(t for name, t in runs if name == condition) for condition, _ in runs}
    rest = sorted(run for run in runs if run[1] == lowest[run[0]] and run != first)
    return [(run, runs[run]) for run in (first, *rest)]


def _measured(run: Run, dialogues: Sequence[dict], hosted: float) -> dict[str, Any]:
    """Return a condition that was run; `hosted` are the dollars of a second of this machine."""
    rows = [
        {key: sum(turn[key] for turn in talk["turns"]) for key in (*MEANS, "seconds", "busy", "dollars")}
        | {"turns": len(talk["turns"])}
        for talk in dialogues
    ]
    dollars = [row["dollars"] + row["busy"] * hosted for row in rows]
    paper = price_of(PAPER["compiled" if run[0].startswith("compiled-") else "frontier"])
    return _told(run[0], "measured", rows, dollars, paper) | {"seconds": _mean(row["seconds"] for row in rows)}


def _counted(
    condition: str,
    flowchart: Flowchart,
    scenarios: Sequence[dict],
    dialogues: Sequence[dict],
    price: Price,
    tokens: Callable[[str], float],
) -> dict[str, Any]:
    """Return a condition that was not run, with the tokens that it would have sent for these dialogues."""
    rows = replay(condition, flowchart, scenarios, dialogues, tokens)
    dollars = [price.dollars(Usage(row["tokens_in"], 0, row["tokens_out"])) for row in rows]
    told = _told(condition, "counted", rows, dollars, price_of(PAPER["frontier"]))
    if price.cached_input is not None:
        usages = [Usage(row["tokens_in"], row["tokens_cached"], row["tokens_out"]) for row in rows]
        told["dollars_cached"] = _mean(map(price.dollars, usages))
    return told


def _told(condition: str, how: str, rows: Sequence[Mapping], dollars: Sequence[float], paper: Price) -> dict[str, Any]:
    at_paper = [paper.dollars(Usage(row["tokens_in"], 0, row["tokens_out"])) for row in rows]
    return {
        "condition": condition,
        "how": how,
        "conversations": len(rows),
        **{key: _mean(row[key] for row in rows) for key in (*MEANS, "turns")},
        "seconds": None,
        "dollars": _mean(dollars),
        "interval": list(bootstrap_mean(dollars)),
        "dollars_cached": None,
        "dollars_at_the_papers_prices": _mean(at_paper),
    }


def _against(ours: Mapping, other: Mapping, compiling: float) -> dict[str, Any]:
    """Return how our condition compares with another: ratios of costs, break-even, savings over VOLUMES."""
    saved = other["dollars"] - ours["dollars"]
    key = "dollars_at_the_papers_prices"
    return {
        "condition": other["condition"],
        "how": other["how"],
        "ratio": other["dollars"] / ours["dollars"] if ours["dollars"] else None,
        "ratio_at_the_papers_prices": other[key] / ours[key] if ours[key] else None,
        "break_even": compiling / saved if saved > 0 else None,
        "savings": {str(volume): volume * saved - compiling for volume in VOLUMES},
    }


def _bytes_a_token(dialogues: Sequence[dict], tokens: Callable[[str], float]) -> float | None:
    text = " ".join(turn["content"] for talk in dialogues[:20] for turn in talk["turns"])
    return len(text.encode()) / tokens(text) if text else None


def _mean(numbers) -> float:
    found = list(numbers)
    return sum(found) / len(found) if found else 0.0
