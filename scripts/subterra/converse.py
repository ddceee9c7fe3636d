"""The teacher walks the paths of a shard and speaks both sides; every answer goes through the cache."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

from subterra import records
from subterra.cache import Cache
from subterra.models import builtin
from subterra.progress import track
from subterra.text import digest, pretty, write_whole

ROLES = {"agent": "assistant", "user": "user"}


def write_shard(work: Mapping, cache_folder: str | Path, out: str | Path, out_json: str | Path) -> None:
    """Write the conversations of a shard as Parquet, and beside it what the teacher did, as JSON.

    `calls` are the answers that the conversations are made of, `cached` those of them that were there already.
    """
    teacher = builtin.teacher(work["teacher"])
    with Cache(cache_folder) as cache:
        talks = track(work["conversations"], len(work["conversations"]), f"{work['agent']} shard {work['shard']}")
        rows = [converse(talk, work, teacher, cache) for talk in talks]
    records.write_table(rows, records.CONVERSATION, out)
    told = {"backend": teacher.backend, "model": teacher.model, "calls": len(rows), "cached": cache.cached}
    write_whole(out_json, pretty(told | {"tokens_in": 0, "tokens_out": 0, "dollars": 0.0}))


def converse(talk: Mapping, work: Mapping, teacher, cache: Cache) -> dict:
    """Return one conversation row (see records.CONVERSATION).

    The key of the answer covers all that shapes it: the teacher, its view of the path and the draw, and the seed,
    which is made of the path and the draw alone.
    """
    steps = [phrased(work["steps"][name], talk["split"]) for name in talk["steps"]]
    seed = digest([work["seed"], talk["id"]])
    key = digest([teacher.identity(), teacher.view(steps, talk["values"]), seed], 40)
    lines = cache.answer(key, lambda: teacher.write(steps, talk["values"], seed))
    row = {name: talk[name] for name in ("id", "path", "split", "nodes", "outcome", "values")}
    return row | {"turns": turns(steps, lines)}


def phrased(step: Mapping, split: str) -> Mapping:
    """Return a step with the phrasings of a split: held-out ones are said where they are measured, nowhere else."""
    held_out = split == "held_out_phrasings" and step["held_out_says"]
    return {**step, "says": step["held_out_says"]} if held_out else step


def turns(steps: Sequence[Mapping], lines: Sequence[str]) -> list[dict]:
    """Return alternating turns: steps of one speaker in a row are one turn, steps without words are none."""
    spoken = [(step, line) for step, line in zip(steps, lines, strict=True) if step["speaker"]]
    return [
        {
            "role": ROLES[speaker],
            "content": " ".join(line for _, line in group if line),
            "nodes": [step["node"] for step, _ in group],
            "values": list(dict.fromkeys(name for step, _ in group for name in step["demands"])),
        }
        for speaker, group in ((s, list(g)) for s, g in groupby(spoken, key=lambda pair: pair[0]["speaker"]))
    ]
