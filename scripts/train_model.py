"""dataset/{train,valid}.parquet -> model/, training.json, loss.parquet, loss.svg."""

import os

# Threads that spin while they wait halve the speed wherever something else runs; read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from subterra.errors import one_line

with one_line(snakemake.log[0]):
    from subterra.training.train import train_model

    train_model(
        snakemake.input.train,
        snakemake.input.valid,
        snakemake.output.model,
        out_json=snakemake.output.facts,
        out_loss=snakemake.output.loss,
        out_curve=snakemake.output.curve,
        system=snakemake.params.system,
        base=snakemake.params.base,
        settings=snakemake.params.settings,
        seed=snakemake.params.seed,
        checkpoints=snakemake.params.checkpoints,
        threads=snakemake.threads,
    )
