"""Real dialogues through llama.cpp with a customer, then a score for each, by machine.

Required: results/{agent}/gguf/{quant}.gguf, results/{agent}/dataset/. Written: results/{agent}/evaluation/matcher.json,
evaluation/{condition}/{temperature}/dialogues/{shard}.parquet, and scores.parquet beside that folder.
"""


rule fit_matcher:
    input:
        digest=behind_dataset("results/{agent}/dataset/test.digest"),
        train=ancient(behind_dataset("results/{agent}/dataset/train.parquet")),
        test=ancient(behind_dataset("results/{agent}/dataset/test.parquet")),
        flowchart=behind_dataset("results/{agent}/flowchart.json"),
    output:
        matcher="results/{agent}/evaluation/matcher.joblib",
        accuracy="results/{agent}/evaluation/matcher.json",
    log:
        "logs/{agent}/evaluate/matcher.log",
    benchmark:
        "benchmarks/{agent}/evaluate/matcher.tsv"
    conda:
        "../envs/subterra.yaml"
    params:
        seed=config["seed"],
        code=code_digest("subterra.matcher", "subterra.dataset"),
    message:
        "{wildcards.agent}: fit the turn matcher and measure it"
    script:
        "../scripts/fit_matcher.py"


rule hold_dialogues:
    input:
        gguf=behind_dataset("results/{agent}/gguf/{quant}.gguf"),
        flowchart=behind_dataset("results/{agent}/flowchart.json"),
        digest=behind_dataset("results/{agent}/dataset/test.digest"),
        scenarios=ancient(behind_dataset("results/{agent}/dataset/test.parquet")),
    output:
        dialogues="results/{agent}/evaluation/compiled-{quant}/{temperature}/dialogues/{shard}.parquet",
    log:
        "logs/{agent}/evaluate/{quant}-{temperature}-{shard}.log",
    benchmark:
        "benchmarks/{agent}/evaluate/{quant}-{temperature}-{shard}.tsv"
    conda:
        "../envs/subterra.yaml"
    params:
        evaluation=played(config),
        customer=CUSTOMER,
        context=config["export"]["context"],
        tools=ordered(config["tools"]),
        seed=config["seed"],
        code=code_digest(*CODE),
    message:
        "{wildcards.agent}: talk with {wildcards.quant} at temperature {wildcards.temperature}"
    script:
        "../scripts/hold_dialogues.py"


rule score_dialogues:
    input:
        flowchart=behind_dataset("results/{agent}/flowchart.json"),
        matcher=behind_dataset("results/{agent}/evaluation/matcher.joblib"),
        scenarios=ancient(behind_dataset("results/{agent}/dataset/test.parquet")),
        dialogues=behind_dataset(
            "results/{agent}/evaluation/{condition}/{temperature}/dialogues/{shard}.parquet",
            shard=PLAYED,
        ),
    output:
        scores="results/{agent}/evaluation/{condition}/{temperature}/scores.parquet",
    log:
        "logs/{agent}/evaluate/{condition}-{temperature}-scores.log",
    benchmark:
        "benchmarks/{agent}/evaluate/{condition}-{temperature}-scores.tsv"
    conda:
        "../envs/subterra.yaml"
    params:
        code=code_digest("subterra.conformance", "subterra.matcher"),
    message:
        "{wildcards.agent}: score {wildcards.condition} at temperature {wildcards.temperature}"
    script:
        "../scripts/score_dialogues.py"
