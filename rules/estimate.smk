"""What the conversations will cost, told before anything is asked: `snakemake --cores all estimate` asks nothing at all.

Required: results/{agent}/shards/{shard}.json of every shard. Written: results/{agent}/estimate.json. Of a teacher that
costs money alone. Conversations are asked for once it is there: see `behind_estimate`.
"""


checkpoint estimate_cost:
    input:
        shards=collect("results/{{agent}}/shards/{shard}.json", shard=SHARDS),
        prices="config/prices.yaml",
    output:
        "results/{agent}/estimate.json",
    log:
        "logs/{agent}/estimate.log",
    conda:
        "../envs/subterra.yaml"
    params:
        cache=config["cache"],
        tokenizer=BASE if Path(BASE).is_dir() else base_folder("embedded"),
        teacher=shaping(config["teacher"]),
        budget=config["teacher"]["budget"],
        batch=config["teacher"]["batch"],
        code=code_digest("subterra.estimate"),
    message:
        "{wildcards.agent}: estimate what the teacher will cost"
    script:
        "../scripts/estimate_cost.py"


rule estimate:
    """`snakemake --cores all --forcerun estimate_cost estimate` estimates again, with what is there by now."""
    input:
        collect("results/{agent}/estimate.json", agent=AGENTS) if ASKS_A_MODEL else [],
    message:
        "Estimates: {input}" if ASKS_A_MODEL else "The built-in teacher costs nothing: see teacher.backend."
