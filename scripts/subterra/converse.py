"""The teacher walks the paths of a shard and speaks both sides; every answer goes through the cache."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from subterra import records
from subterra.cache import Cache
from subterra.conversation import laid_out, row
from subterra.models import builtin
from subterra.progress import track
from subterra.text import digest, pretty, write_whole


def write_shard(
    work: Mapping,
    cache_folder: str | Path,
    out: str | Path,
    out_json: str | Path,
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Write the conversations of a shard as Parquet, and beside it what the teacher did, as JSON.

    `settings` is the config's `teacher`: what of it shapes the words is in `work`, the rest says how a model is asked,
    and the built-in teacher needs none.
    In the JSON, `calls` are the answers that the conversations are made of, `cached` those of them that were there
    already; `funnel` says how many conversations were asked for, kept, mended and dropped.
    """
    if work["teacher"]["backend"] == builtin.BuiltinTeacher.backend:
        rows, told = _spoken(work, cache_folder)
    else:
        from subterra.commissioned import commission

        rows, told = commission(work, cache_folder, settings)
    records.write_table(rows, records.CONVERSATION, out)
    write_whole(out_json, pretty(told))


def _spoken(work: Mapping, cache_folder: str | Path) -> tuple[list[dict], dict]:
    teacher = builtin.BuiltinTeacher()
    with Cache(cache_folder, teacher.paid) as cache:
        talks = track(work["conversations"], len(work["conversations"]), f"{work['agent']} shard {work['shard']}")
        rows = [converse(talk, work, teacher, cache) for talk in talks]
    told = {"backend": teacher.backend, "model": teacher.model, "calls": len(rows), "cached": cache.cached}
    return rows, told | {"tokens_in": 0, "tokens_cached": 0, "tokens_out": 0, "dollars": 0.0}


def converse(talk: Mapping, work: Mapping, teacher: builtin.BuiltinTeacher, cache: Cache) -> dict:
    """Return one conversation row (see records.CONVERSATION) of the built-in teacher.

    The key of the answer covers all that shapes it: the teacher, its view of the path and the draw, and the seed.
    """
    steps, values, seed = laid_out(talk, work)
    key = digest([teacher.identity(), teacher.view(steps, values), seed], 40)
    return row(talk, steps, cache.answer(key, lambda: teacher.write(steps, values, seed)), values)
