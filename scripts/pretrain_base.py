"""The corpus -> results/bases/embedded/: model/, pretraining.json, loss.parquet."""

import os

# As in train_model.py: read when torch is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")

from subterra.errors import one_line

with one_line(snakemake.log[0]):
    from subterra.pretraining.pretrain import pretrain

    pretrain(
        snakemake.output.model,
        out_json=snakemake.output.facts,
        out_loss=snakemake.output.loss,
        settings=snakemake.params.settings,
        seed=snakemake.params.seed,
        checkpoints=snakemake.params.checkpoints,
        threads=snakemake.threads,
    )
