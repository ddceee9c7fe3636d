"""From a spec to the work of each shard: paths x draws, each named by its content.

Snakemake plans before it runs, so this happens while the workflow is parsed. The files are sources to it: an equal
file keeps its time, and what hangs on it is left alone. Paths go to shards by a stable hash, and how often a path is
drawn is a power of two, so that a new path leaves the others' work as it was.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from subterra import paths, records
from subterra.checker import check_spec
from subterra.code import code_digest
from subterra.draws import Draws, hold_out_values, step_of, steps_of
from subterra.errors import SubterraError
from subterra.flowchart import Flowchart
from subterra.interrupt import Interrupter
from subterra.text import canonical, digest, fraction, pretty, write_if_changed, write_whole

# Where a conversation is used, and what in it training never saw.
SPLITS = {
    "train": "",
    "valid": "",
    "known": "",
    "held_out_paths": "paths",
    "held_out_values": "values",
    "held_out_phrasings": "phrasings",
    "interruptions": "",
}
LEARNED = ("train", "valid")  # splits where interruptions come at the set rate; in `interruptions` one each, else none
STAMP = "plan.json"


def plan_agent(spec: str | Path, folder: str | Path, settings: Mapping[str, Any]) -> None:
    """Write flowchart.json, paths.parquet, paths.json and shards/{shard}.json of an agent into `folder`.

    `settings` holds `seed`, `paths` {rule, limit}, `held_out` {paths, values, phrasings} (shares in [0, 1)),
    `conversations` (how many of each split), `interruptions` {rate}, `shards`, and `teacher` as far as it shapes the
    words (models.asking.shaping). Nothing is done where
    neither spec, settings nor code have changed since. Raises SpecError with a line for every mistake in the spec, and
    writes nothing then.
    """
    folder, content = Path(folder), Path(spec).read_bytes() if Path(spec).is_file() else b""
    stamp = pretty({"spec": digest(content), "settings": digest(dict(settings)), "code": code_digest(__name__)})
    if _is_current(folder, stamp, settings["shards"]):
        return
    flowchart = check_spec(spec, settings["paths"]["rule"], settings["teacher"]["backend"] == "builtin")
    derived = paths.derive(flowchart, settings["paths"]["limit"], settings["seed"])
    if not derived.paths:
        raise SubterraError(f"{spec}: no path from {flowchart.start} to an end under the rule {flowchart.rule}")
    held_out = hold_out_paths(derived.paths, settings["held_out"]["paths"], settings["seed"])
    rows = [_path_row(flowchart, path, path in held_out) for path in derived.paths]
    (folder / STAMP).unlink(missing_ok=True)  # whatever ends this too early, half a plan is not taken for a whole one
    write_if_changed(folder / "flowchart.json", flowchart.to_json() + "\n")
    held_values = hold_out_values(flowchart, settings["held_out"]["values"], settings["seed"])
    summary = _summary(flowchart, derived, rows) | {
        "held_out_values": {name: list(values) for name, values in held_values.items() if values}
    }
    write_if_changed(folder / "paths.json", pretty(summary))
    records.write_table(rows, records.PATH, folder / "paths.parquet")
    for shard, work in enumerate(shard_work(flowchart, rows, settings)):
        write_if_changed(shard_file(folder, shard), canonical(work) + "\n")
    _remove_shards_from(folder, settings["shards"])
    write_whole(folder / STAMP, stamp)


def shard_name(shard: int) -> str:
    """Return the name of a shard in files: three digits."""
    return f"{shard:03}"


def shard_file(folder: str | Path, shard: int) -> Path:
    """Return the file that holds the work of a shard."""
    return Path(folder) / "shards" / f"{shard_name(shard)}.json"


def _is_current(folder: Path, stamp: str, shards: int) -> bool:
    written = folder / STAMP
    products = [folder / name for name in ("flowchart.json", "paths.json", "paths.parquet")]
    products += [shard_file(folder, shard) for shard in range(shards)]
    return written.is_file() and written.read_text() == stamp and all(product.is_file() for product in products)


def _remove_shards_from(folder: Path, first: int) -> None:
    for file in (folder / "shards").glob("*.json"):
        if file.stem.isdecimal() and int(file.stem) >= first:
            file.unlink()


# -- what is held out ----------------------------------------------------------------------------------------------


def hold_out_paths(derived: Sequence[paths.Path], share: float, seed: int) -> set[paths.Path]:
    """Return the paths kept out of training: about `share` of them, by lot.

    What remains takes every edge and edge pair that the paths take: a held-out path is a new combination of known
    steps. So a path that alone holds a pair is trained on, whatever its lot.
    """
    lots = {path: fraction("held out", seed, paths.path_id(path)) for path in derived}
    drawn = sorted((path for path in derived if lots[path] < share), key=lots.__getitem__)
    kept = set(derived) - set(drawn)
    covered = _covered(kept)
    held_out = set()
    for path in reversed(drawn):
        own = _covered([path])
        if own <= covered:
            held_out.add(path)
        else:
            covered |= own
    return held_out


def _covered(chosen) -> set[tuple]:
    return paths.edges_of(chosen) | paths.edge_pairs_of(chosen)


# -- the work --------------------------------------------------------------------------------------------------------


def shard_work(flowchart: Flowchart, rows: Sequence[dict], settings: Mapping[str, Any]) -> Iterator[dict]:
    """Yield the work of each shard, self-contained: `steps` by name, and the `conversations` that walk them."""
    seed, shards = settings["seed"], settings["shards"]
    builtin = settings["teacher"]["backend"] == "builtin"
    phrasings = settings["held_out"]["phrasings"] if builtin else 0  # a model finds its own words
    draws = Draws(flowchart, hold_out_values(flowchart, settings["held_out"]["values"], seed), seed)
    interrupter = Interrupter(flowchart, draws, seed)
    step = cache(partial(step_of, flowchart, held_out=phrasings, seed=seed))
    talks: list[list[dict]] = [[] for _ in range(shards)]
    for split, held_out in SPLITS.items():
        peers = [row for row in rows if row["held_out"] == (held_out == "paths")]
        if held_out == "values":
            peers = [row for row in peers if draws.has_held_out_values(row)]
        elif held_out == "phrasings":
            peers = [row for row in peers if _all_held_out([step(name) for name in steps_of(flowchart, row["nodes"])])]
        if split == "interruptions":
            peers = [row for row in peers if interrupter.can_interrupt(row["nodes"])]
        for row in peers:
            count = draws_of(row["path"], split, settings["conversations"][split], len(peers))
            drawn = draws.of(row, split, count, held_out == "values")
            if split == "interruptions":
                drawn = map(interrupter.once, drawn)
            elif split in LEARNED:
                drawn = (interrupter.at_rate(talk, settings["interruptions"]["rate"]) for talk in drawn)
            talks[int(row["path"], 16) % shards] += drawn
    for shard, work in enumerate(talks):
        used = sorted({name for talk in work for name in talk["steps"]})
        told = {
            "agent": flowchart.agent,
            "shard": shard_name(shard),
            "seed": seed,
            "teacher": dict(settings["teacher"]),
            "steps": {name: step(name) for name in used},
            "conversations": sorted(work, key=lambda talk: talk["id"]),
        }
        yield told if builtin else told | _for_a_model(flowchart, told["steps"])


def _for_a_model(flowchart: Flowchart, steps: Mapping[str, dict]) -> dict:
    """Return what else of a shard's work a model is told: what else a customer might mean at each hub, too."""
    offered = {
        name: step | {"choices": [way.when for way in flowchart.nodes[step["node"]].ways if way.when]}
        for name, step in steps.items()
        if step["node"] in flowchart.hubs and step["speaker"] == "user"
    }
    return {"system": flowchart.system, "facts": sorted(flowchart.knowledge), "steps": {**steps, **offered}}


def _all_held_out(steps: Sequence[Mapping]) -> bool:
    """Tell whether training never sees some phrasing of each of the customer's steps."""
    held_out = [bool(step["held_out_says"]) for step in steps if step["speaker"] == "user"]
    return bool(held_out) and all(held_out)


def draws_of(path: str, split: str, wanted: int, peers: int) -> int:
    """Return how often a path is drawn, so that `peers` paths come to about `wanted` conversations, at least that
    many outside training.

    It is a power of two, so that it seldom changes when paths come and go; below one, the lot of the path decides.

    >>> draws_of("0123456789ab", "train", 4_000, 80), draws_of("0123456789ab", "known", 100, 80)
    (64, 2)
    """
    if not wanted or not peers:
        return 0
    if split == "train":
        power = round(math.log2(wanted / peers))
    else:  # lots scatter: three standard deviations more
        enough = wanted if wanted >= peers else min(peers, wanted + 3 * math.sqrt(wanted))
        power = math.ceil(math.log2(enough / peers))
    return 2**power if power >= 0 else int(fraction("draw", split, path) < 2.0**power)


# -- what is said of the paths -----------------------------------------------------------------------------------------


def _path_row(flowchart: Flowchart, path: paths.Path, held_out: bool) -> dict:
    return {
        "path": paths.path_id(path),
        "nodes": list(path),
        "outcome": flowchart.nodes[path[-1]].outcome,
        "turns": turns_of(flowchart, path),
        "held_out": held_out,
    }


def turns_of(flowchart: Flowchart, path: paths.Path) -> int:
    """Return the turns of a conversation along a path: nodes of one speaker in a row are one turn, tools have none."""
    speakers = [speaker for speaker in map(flowchart.speaks, path) if speaker in ("agent", "user")]
    return sum(before != after for before, after in pairwise(["", *speakers]))


def _summary(flowchart: Flowchart, derived: paths.Derived, rows: Sequence[dict]) -> dict:
    """Return what the report says of the paths; `count` is null where there are too many to count."""
    return {
        "rule": flowchart.rule,
        "count": derived.count,
        "derived": len(rows),
        "sampled": derived.sampled,
        "held_out": sum(row["held_out"] for row in rows),
        "turns_min": min(row["turns"] for row in rows),
        "turns_max": max(row["turns"] for row in rows),
        "edges": len(flowchart.edges),
        "edges_covered": len(paths.edges_of(derived.paths)),
        "edge_pairs": len(flowchart.edge_pairs),
        "edge_pairs_covered": len(paths.edge_pairs_of(derived.paths)),
    }
