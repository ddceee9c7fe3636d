"""The teacher writes conversations along the paths, shard by shard; every answer is kept in the cache.

Required: results/{agent}/shards/{shard}.json. Written: results/{agent}/conversations/{shard}.parquet, and beside it how
many answers were asked for.
"""


rule write_conversations:
    input:
        work="results/{agent}/shards/{shard}.json",
    output:
        conversations="results/{agent}/conversations/{shard}.parquet",
        counts="results/{agent}/conversations/{shard}.json",
    log:
        "logs/{agent}/converse/{shard}.log",
    benchmark:
        "benchmarks/{agent}/converse/{shard}.tsv"
    conda:
        "../envs/subterra.yaml"
    params:
        cache=config["cache"],
        code=code_digest("subterra.converse"),
    message:
        "{wildcards.agent}: write the conversations of shard {wildcards.shard}"
    script:
        "../scripts/write_conversations.py"
