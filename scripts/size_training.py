"""What training takes, on stdout: memory by ZeRO stage, which GPUs hold it, steps and hours."""

from subterra.errors import one_line

with one_line(snakemake.log[0]):
    from subterra.outlook import plan

    print(
        plan(
            snakemake.params.folders,
            snakemake.params.base,
            snakemake.params.embedded,
            snakemake.params.settings,
            snakemake.input.gpus,
        ),
        flush=True,
    )
