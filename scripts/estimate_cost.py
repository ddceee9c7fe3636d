"""shards/*.json -> estimate.json: what a teacher that costs money will cost."""

from subterra.errors import one_line

with one_line(snakemake.log[0]):
    from subterra.estimate import write_estimate

    write_estimate(
        snakemake.input.shards,
        snakemake.params.cache,
        snakemake.config["teacher"],
        snakemake.params.tokenizer,
        snakemake.output[0],
    )
