"""shards/{shard}.json -> conversations/{shard}.parquet."""

import json
from pathlib import Path

from subterra.converse import write_shard
from subterra.errors import one_line

with one_line(snakemake.log[0]):
    work = json.loads(Path(snakemake.input.work).read_text(encoding="utf-8"))
    write_shard(work, snakemake.params.cache, snakemake.output.conversations, snakemake.output.counts)
