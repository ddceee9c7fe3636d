"""The teacher writes conversations along the paths, shard by shard; every answer is kept in the cache.

Required: results/{agent}/shards/{shard}.json. Written: results/{agent}/conversations/{shard}.parquet, and beside it how
many answers were asked for.
"""


rule write_conversations:
    input:
        work=behind_estimate("results/{agent}/shards/{shard}.json"),
    output:
        conversations="results/{agent}/conversations/{shard}.parquet",
        counts="results/{agent}/conversations/{shard}.json",
    log:
        "logs/{agent}/converse/{shard}.log",
    benchmark:
        "benchmarks/{agent}/converse/{shard}.tsv"
    conda:
        "../envs/subterra.yaml"
    threads: 0 if ASKS_A_MODEL else 1  # it waits for answers: others may have its core
    resources:
        asking=int(ASKS_A_MODEL and not config["teacher"]["batch"]),  # batches take a day: all at once
    params:
        estimate="results/{agent}/estimate.json" if ASKS_A_MODEL else "",
        cache=config["cache"],
        code=code_digest("subterra.converse"),
    message:
        "{wildcards.agent}: write the conversations of shard {wildcards.shard}"
    script:
        "../scripts/write_conversations.py"
