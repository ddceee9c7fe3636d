"""shards/{shard}.json -> conversations/{shard}.parquet."""

import json
from pathlib import Path

from subterra.converse import write_shard
from subterra.errors import one_line

with one_line(snakemake.log[0]):
    work = json.loads(Path(snakemake.input.work).read_text(encoding="utf-8"))
    # How the teacher is asked makes nothing stale, so it comes from the config and not through params.
    teacher = snakemake.config["teacher"]
    if snakemake.params.estimate:
        from subterra.estimate import must_fit

        must_fit(snakemake.params.estimate)
    write_shard(work, snakemake.params.cache, snakemake.output.conversations, snakemake.output.counts, teacher)
