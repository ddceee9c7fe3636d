"""Subterra: from the flowcharts in specs/ to small models that follow them, with numbers that prove it."""


# Of --sdm apptainer alone: built from envs/subterra.def.
container: "subterra.sif"


include: "rules/common.smk"
include: "rules/products.smk"
include: "rules/plan.smk"
include: "rules/estimate.smk"
include: "rules/sizing.smk"
include: "rules/converse.smk"
include: "rules/assemble.smk"
include: "rules/train.smk"
include: "rules/export.smk"
include: "rules/evaluate.smk"
include: "rules/compare.smk"
include: "rules/judge.smk"
include: "rules/report.smk"
include: "rules/pretrain.smk"


rule all:
    """Every agent of the config, and the page that compares them."""
    default_target: True
    input:
        *map(made_first, AGENTS),
        *map(products, AGENTS),
        "results/report.html",
    message:
        "All is built."


for agent in AGENTS:

    rule:
        """One agent: `snakemake --cores all travel_booking`."""
        name:
            agent
        input:
            made_first(agent),
            products(agent),
        message:
            agent + " is built."
