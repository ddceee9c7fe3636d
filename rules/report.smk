"""One page an engineer would forward, and the same figures for machines; then one page over all agents.

Required: everything before. Written: results/{agent}/report.html, transcripts.html, summary.json, and results/report.html.
"""


rule build_report:
    input:
        flowchart=behind_dataset("results/{agent}/flowchart.json"),
        paths=behind_dataset("results/{agent}/paths.json"),
        dataset=behind_dataset("results/{agent}/dataset/summary.json"),
        training=behind_dataset("results/{agent}/training.json"),
        loss=behind_dataset("results/{agent}/loss.parquet"),
        ggufs=behind_dataset("results/{agent}/gguf/{quant}.gguf", quant=QUANTIZATIONS),
        parity=behind_dataset("results/{agent}/gguf/parity.json"),
        matcher=behind_dataset("results/{agent}/evaluation/matcher.json"),
        costs=behind_dataset("results/{agent}/evaluation/costs.json"),
        paper="config/paper.yaml",
        evaluation=behind_evaluations("dialogues", "scores", "judgements"),
    output:
        page=report(
            "results/{agent}/report.html",
            category="{agent}",
            caption="../rules/captions/report.rst",
        ),
        transcripts="results/{agent}/transcripts.html",
        summary="results/{agent}/summary.json",
    log:
        "logs/{agent}/report.log",
    conda:
        "../envs/subterra.yaml"
    params:
        quants=QUANTIZATIONS,
        runs=lambda wildcards: evaluated(wildcards.agent),
        benchmarks="benchmarks/{agent}",
        worst=config["report"]["worst"],
        code=code_digest("subterra.report"),
    message:
        "{wildcards.agent}: build {output.page}"
    script:
        "../scripts/build_report.py"


rule build_overview:
    input:
        *map(summary_of, AGENTS),
    output:
        page="results/report.html",
    log:
        "logs/report.log",
    conda:
        "../envs/subterra.yaml"
    params:
        code=code_digest("subterra.report"),
    message:
        "Build {output.page}, over all agents"
    script:
        "../scripts/build_overview.py"
