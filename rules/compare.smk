"""What the compiled model is compared with holds the same dialogues: a model in context, orchestrated ones, the base.

Required: results/{agent}/flowchart.json, dataset/. Written: results/base.gguf, and
results/{agent}/evaluation/{condition}/{temperature}/dialogues/{shard}.parquet of each condition that is run.
"""


rule export_base:
    output:
        gguf="results/base.gguf",
    log:
        "logs/base.log",
    benchmark:
        "benchmarks/base.tsv"
    conda:
        "../envs/subterra.yaml"
    params:
        base=BASE,
        content=folder_digest(BASE),
        code=code_digest("subterra.export.converter"),
    message:
        "Export the base as it was before training, for the conditions that ask it"
    script:
        "../scripts/export_base.py"


rule hold_baseline:
    input:
        base=branch(lambda wildcards: wildcards.condition.startswith("base_"), then="results/base.gguf", otherwise=[]),
        flowchart=behind_dataset("results/{agent}/flowchart.json"),
        digest=behind_dataset("results/{agent}/dataset/test.digest"),
        scenarios=ancient(behind_dataset("results/{agent}/dataset/test.parquet")),
    output:
        dialogues="results/{agent}/evaluation/{condition}/{temperature}/dialogues/{shard}.parquet",
    log:
        "logs/{agent}/evaluate/{condition}-{temperature}-{shard}.log",
    benchmark:
        "benchmarks/{agent}/evaluate/{condition}-{temperature}-{shard}.tsv"
    wildcard_constraints:
        condition="in_context|langgraph|crewai|base_in_context|base_langgraph",
    conda:
        "../envs/subterra.yaml"
    params:
        evaluation=played(config),
        answering=lambda wildcards: ANSWERING[wildcards.condition],
        customer=CUSTOMER,
        tools=ordered(config["tools"]),
        seed=config["seed"],
        code=code_digest(*CODE),
    message:
        "{wildcards.agent}: talk with {wildcards.condition}"
    script:
        "../scripts/hold_baseline.py"
