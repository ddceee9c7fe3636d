"""Conversations become train, valid and test: checked, without duplicates, split by path and by scenario.

Required: results/{agent}/conversations/{shard}.parquet of every shard, results/{agent}/paths.json.
Written: results/{agent}/dataset/. The digests in it are what later stages hang on: see `behind_dataset`.
"""


checkpoint assemble_dataset:
    input:
        conversations=collect("results/{{agent}}/conversations/{shard}.parquet", shard=SHARDS),
        counts=collect("results/{{agent}}/conversations/{shard}.json", shard=SHARDS),
        paths="results/{agent}/paths.json",
    output:
        train="results/{agent}/dataset/train.parquet",
        valid="results/{agent}/dataset/valid.parquet",
        test="results/{agent}/dataset/test.parquet",
        train_digest="results/{agent}/dataset/train.digest",
        test_digest="results/{agent}/dataset/test.digest",
        summary="results/{agent}/dataset/summary.json",
    log:
        "logs/{agent}/assemble.log",
    benchmark:
        "benchmarks/{agent}/assemble.tsv"
    conda:
        "../envs/subterra.yaml"
    params:
        max_failures=config["teacher"]["max_failures"] if ASKS_A_MODEL else 1.0,
        code=code_digest("subterra.dataset"),
    message:
        "{wildcards.agent}: assemble the data set"
    script:
        "../scripts/assemble_dataset.py"
