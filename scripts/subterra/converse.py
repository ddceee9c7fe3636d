"""The teacher walks the paths of a shard and speaks both sides; every answer goes through the cache."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from subterra import records
from subterra.cache import Cache
from subterra.draws import values_along
from subterra.models import builtin
from subterra.progress import track
from subterra.text import digest, filled, pretty, readable, write_whole

ROLES = {"agent": "assistant", "user": "user"}


def write_shard(work: Mapping, cache_folder: str | Path, out: str | Path, out_json: str | Path) -> None:
    """Write the conversations of a shard as Parquet, and beside it what the teacher did, as JSON.

    `calls` are the answers that the conversations are made of, `cached` those of them that were there already.
    """
    teacher = builtin.teacher(work["teacher"])
    with Cache(cache_folder, teacher.paid) as cache:
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
    values = values_along(steps, talk["values"], talk["corrected"])
    seed = digest([work["seed"], talk["id"]])
    key = digest([teacher.identity(), teacher.view(steps, values), seed], 40)
    lines = cache.answer(key, lambda: teacher.write(steps, values, seed))
    row = {name: talk[name] for name in ("id", "path", "split", "nodes", "outcome", "values", "corrected")}
    return row | {"turns": turns(steps, lines, values)}


def phrased(step: Mapping, split: str) -> Mapping:
    """Return a step with the phrasings of a split: held-out ones are said where they are measured, nowhere else."""
    held_out = split == "held_out_phrasings" and step["held_out_says"]
    return {**step, "says": step["held_out_says"]} if held_out else step


def turns(steps: Sequence[Mapping], lines: Sequence[str], values: Sequence[Mapping[str, str]]) -> list[dict]:
    """Return the turns of a conversation (see records.TURN), `values` being what holds at each step.

    Steps of one speaker in a row are one turn, steps without words are none. What the agent asks of a tool belongs to
    its turn, and the tool's answer is a turn of its own.
    """
    found: list[dict] = []
    for step, line, now in zip(steps, lines, values, strict=True):
        if step["speaker"] == "tool":
            called = {"name": step["call"]["name"], "arguments": filled(step["call"]["arguments"], now)}
            _turn(found, "assistant", step["node"])["call"] = readable(called)
            answer = _turn(found, "tool", step["node"])
            answer["content"] = readable(filled(step["result"], now))
        elif step["speaker"]:
            turn = _turn(found, ROLES[step["speaker"]], step["node"])
            turn["content"] = f"{turn['content']} {line}".strip()
            turn["values"] |= {name: now[name] for name in step["demands"]}
    return found


def _turn(found: list[dict], role: str, node: str) -> dict:
    """Return the turn that a step belongs to: the last one where the same speaks on, else a new one."""
    if not found or found[-1]["role"] != role or found[-1]["call"]:
        found.append({"role": role, "content": "", "nodes": [], "values": {}, "call": ""})
    found[-1]["nodes"].append(node)
    return found[-1]
