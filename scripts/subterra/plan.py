"""From a spec to the work of each shard: paths x draws, each named by its content.

Snakemake plans before it runs, so this happens while the workflow is parsed. The files are sources to it: an equal
file keeps its time, and what hangs on it is left alone. Paths go to shards by a stable hash, and how often a path is
drawn is a power of two, so that a new path leaves the others' work as it was.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from subterra import paths, records
from subterra.checker import check_spec
from subterra.code import code_digest
from subterra.errors import SubterraError
from subterra.flowchart import Flowchart
from subterra.soundness import restrict
from subterra.text import canonical, digest, fraction, names, pretty, write_if_changed, write_whole

# Where a conversation is used: (split, over held-out paths, with held-out values).
SPLITS = (
    ("train", False, False),
    ("valid", False, False),
    ("known", False, False),
    ("held_out_paths", True, False),
    ("held_out_values", False, True),
)
SMALLEST_POOL = 8  # pools below this keep all their values for training
STAMP = "plan.json"


def plan_agent(spec: str | Path, folder: str | Path, settings: Mapping[str, Any]) -> None:
    """Write flowchart.json, paths.parquet, paths.json and shards/{shard}.json of an agent into `folder`.

    `settings` holds `seed`, `paths` {rule, limit}, `held_out` {paths, values} (shares in [0, 1)), `conversations`
    (how many of each split), `shards` and `teacher`. Nothing is done where neither spec, settings nor code have
    changed since. Raises SpecError with a line for every mistake in the spec, and writes nothing then.
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


def hold_out_values(flowchart: Flowchart, share: float, seed: int) -> dict[str, tuple[str, ...]]:
    """Return the values of each variable kept out of training: about `share` of them, by lot, never all.

    A variable that a `where` looks at and a pool of fewer than SMALLEST_POOL keep all of theirs.
    """
    decisive = {name for node in flowchart.nodes.values() for way in node.ways for name in way.where}
    found = {}
    for name, pool in flowchart.variables.items():
        open_to_lot = name not in decisive and len(pool) >= SMALLEST_POOL
        drawn = tuple(v for v in pool if open_to_lot and fraction("value", seed, name, v) < share)
        found[name] = drawn if len(drawn) < len(pool) else ()
    return found


# -- the work --------------------------------------------------------------------------------------------------------


def shard_work(flowchart: Flowchart, rows: Sequence[dict], settings: Mapping[str, Any]) -> Iterator[dict]:
    """Yield the work of each shard, self-contained: `steps` by name, and the `conversations` that walk them."""
    seed, shards = settings["seed"], settings["shards"]
    draws = Draws(flowchart, hold_out_values(flowchart, settings["held_out"]["values"], seed), seed)
    talks: list[list[dict]] = [[] for _ in range(shards)]
    for split, on_held_out_paths, with_held_out_values in SPLITS:
        peers = [row for row in rows if row["held_out"] == on_held_out_paths]
        if with_held_out_values:
            peers = [row for row in peers if draws.has_held_out_values(row)]
        for row in peers:
            count = draws_of(row["path"], split, settings["conversations"][split], len(peers))
            talks[int(row["path"], 16) % shards] += draws.of(row, split, count, with_held_out_values)
    for shard, work in enumerate(talks):
        used = sorted({step for talk in work for step in talk["steps"]})
        yield {
            "agent": flowchart.agent,
            "shard": shard_name(shard),
            "seed": seed,
            "teacher": dict(settings["teacher"]),
            "steps": {step: _step(flowchart, step) for step in used},
            "conversations": sorted(work, key=lambda talk: talk["id"]),
        }


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


def steps_of(flowchart: Flowchart, path: paths.Path) -> list[str]:
    """Return the names of the steps of a path: a node, or for a customer's node the way that is taken out of it."""
    ways = [f"{source}->{target}" for source, target in pairwise(path)]
    return [way if flowchart.speaks(node) == "user" else node for node, way in zip(path, [*ways, ""], strict=True)]


def _step(flowchart: Flowchart, name: str) -> dict:
    """Return all that a teacher and the checks need to know of a step."""
    source, _, target = name.partition("->")
    node = flowchart.nodes[source]
    way = flowchart.way(source, target) if target else None
    return {
        "node": source,
        "speaker": node.speaker,
        "prompt": node.prompt,
        "when": way.when if way else "",
        "says": list(way.says if way and way.says else node.says),
        "demands": list(node.demands),
    }


class Draws:
    """Draws the values of a conversation.

    Each value has a lot for each conversation and the highest wins (rendezvous hashing), so that a value that is
    added to a pool of n changes one draw in n + 1.
    """

    def __init__(self, flowchart: Flowchart, held_out: Mapping[str, Sequence[str]], seed: int):
        self.flowchart, self.held_out, self.seed = flowchart, held_out, seed
        self._number = {
            (name, value): _number(name, value) for name, pool in flowchart.variables.items() for value in pool
        }
        self._spoken = {}

    def has_held_out_values(self, row: dict) -> bool:
        """Tell whether a path speaks a variable some of whose values are held out."""
        return any(self.held_out[name] for name in self._spoken_on(steps_of(self.flowchart, row["nodes"])))

    def of(self, row: dict, split: str, count: int, with_held_out_values: bool) -> list[dict]:
        """Return `count` conversations of a path: id, path, split, nodes, steps, outcome and values."""
        steps = steps_of(self.flowchart, row["nodes"])
        spoken = self._spoken_on(steps)
        allowed: dict[str, frozenset[str]] = {}
        for source, target in pairwise(row["nodes"]):
            allowed = restrict(allowed, self.flowchart.way(source, target).where) or {}
        ids = [f"{row['path']}-{split}-{number}" for number in range(count)]
        lots = np.array([_number(self.seed, name) for name in ids], dtype=np.uint64)
        drawn = {name: self._draw(name, allowed.get(name), lots, with_held_out_values) for name in spoken}
        facts = {
            "path": row["path"],
            "split": split,
            "nodes": row["nodes"],
            "outcome": row["outcome"],
            "steps": steps,
        }
        return [
            {"id": name, **facts, "values": {variable: values[number] for variable, values in drawn.items()}}
            for number, name in enumerate(ids)
        ]

    def _draw(self, name: str, allowed: frozenset[str] | None, lots: np.ndarray, held_out: bool) -> list[str]:
        kept = self.held_out[name]
        pool = kept if held_out and kept else [v for v in self.flowchart.variables[name] if v not in kept]
        pool = [value for value in pool if allowed is None or value in allowed]
        numbers = np.array([self._number[name, value] for value in pool], dtype=np.uint64)
        return [pool[best] for best in _mixed(lots[:, None] ^ numbers[None, :]).argmax(axis=1)]

    def _spoken_on(self, steps: Sequence[str]) -> list[str]:
        return sorted(set().union(*map(self._names, steps)))

    def _names(self, step: str) -> frozenset[str]:
        """Return the variables that a step may speak."""
        if step not in self._spoken:
            told = _step(self.flowchart, step)
            self._spoken[step] = frozenset(told["demands"]).union(*map(names, told["says"]))
        return self._spoken[step]


def _number(*parts: Any) -> int:
    return int(digest(list(parts), 16), 16)


def _mixed(numbers: np.ndarray) -> np.ndarray:
    """Spread 64-bit numbers evenly (the finalizer of MurmurHash3)."""
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        numbers = (numbers ^ (numbers >> np.uint64(33))) * np.uint64(factor)
    return numbers ^ (numbers >> np.uint64(33))


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
    """Return the turns of a conversation along a path: nodes of one speaker in a row are one turn."""
    speakers = [speaker for speaker in map(flowchart.speaks, path) if speaker]
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
