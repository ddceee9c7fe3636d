"""conversations/*.parquet -> dataset/."""

import json
from pathlib import Path

from subterra.dataset import assemble
from subterra.errors import one_line


def read_json(path):
    return json.loads(Path(path).read_text(encoding="utf-8"))


with one_line(snakemake.log[0]):
    assemble(
        snakemake.input.conversations,
        [read_json(file) for file in snakemake.input.counts],
        read_json(snakemake.input.paths),
        Path(snakemake.output.summary).parent,
        snakemake.params.max_failures,
    )
