"""What dialogues were worth to a judge, and what conversations cost.

Required: results/{agent}/evaluation/{condition}/{temperature}/dialogues/. Written: judgements/{judge}.parquet beside that
folder, where the config names a judge, and results/{agent}/evaluation/costs.json.
"""


rule judge_dialogues:
    input:
        flowchart=behind_dataset("results/{agent}/flowchart.json"),
        scenarios=ancient(behind_dataset("results/{agent}/dataset/test.parquet")),
        dialogues=behind_dataset(
            "results/{agent}/evaluation/{condition}/{temperature}/dialogues/{shard}.parquet",
            shard=PLAYED,
        ),
    output:
        judgements="results/{agent}/evaluation/{condition}/{temperature}/judgements/{judge}.parquet",
    log:
        "logs/{agent}/evaluate/{condition}-{temperature}-{judge}.log",
    benchmark:
        "benchmarks/{agent}/evaluate/{condition}-{temperature}-{judge}.tsv"
    conda:
        "../envs/subterra.yaml"
    params:
        judge=lambda wildcards: JUDGING[wildcards.judge],
        seed=config["seed"],
        code=code_digest("subterra.judging"),
    message:
        "{wildcards.agent}: {wildcards.judge} reads {wildcards.condition} at temperature {wildcards.temperature}"
    script:
        "../scripts/judge_dialogues.py"


rule count_costs:
    input:
        flowchart=behind_dataset("results/{agent}/flowchart.json"),
        scenarios=ancient(behind_dataset("results/{agent}/dataset/test.parquet")),
        dataset=behind_dataset("results/{agent}/dataset/summary.json"),
        dialogues=behind_evaluations("dialogues"),
        prices="config/prices.yaml",
    output:
        costs="results/{agent}/evaluation/costs.json",
    log:
        "logs/{agent}/evaluate/costs.log",
    conda:
        "../envs/subterra.yaml"
    params:
        costs=ordered(config["costs"]),
        frontier=(
            name_of(settings_of(config, "frontier")) if takes_part(config, "frontier") else config["costs"]["frontier"]
        ),
        tokenizer=BASE if Path(BASE).is_dir() else base_folder("embedded"),
        runs=lambda wildcards: [
            {key: run[key] for key in ("condition", "temperature", "dialogues")} for run in evaluated(wildcards.agent)
        ],
        benchmarks="benchmarks/{agent}",
        prompts=[prompts_digest(part) for part in ("in_context", "orchestrated", "crewai")],
        code=code_digest("subterra.economics"),
    message:
        "{wildcards.agent}: count what conversations cost"
    script:
        "../scripts/count_costs.py"
