"""dataset/{train,valid}.parquet -> model/, training.json, loss.parquet, loss.svg."""

import os

# Threads that spin for long halve the speed wherever something else runs, and threads that never spin lose a quarter
# of it where nothing does. Read when torch is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")

from subterra.errors import one_line

with one_line(snakemake.log[0]):
    from subterra.config import training_for
    from subterra.training.train import train_model

    train_model(
        snakemake.input.train,
        snakemake.input.valid,
        snakemake.output.model,
        out_json=snakemake.output.facts,
        out_loss=snakemake.output.loss,
        out_curve=snakemake.output.curve,
        system=snakemake.params.system,
        free=snakemake.params.free,
        base=snakemake.params.base,
        settings=training_for(
            snakemake.config["training"], snakemake.params.lessons, snakemake.config["teacher"]["backend"]
        ),
        seed=snakemake.params.seed,
        checkpoints=snakemake.params.checkpoints,
        threads=snakemake.threads,
    )
