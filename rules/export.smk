"""The model becomes files for llama.cpp: f16 first, then its quantizations, with the proof that they say the same.

Required: results/{agent}/model/. Written: results/{agent}/gguf/{quant}.gguf, parity.json, Modelfile, README.md.
"""


rule export_gguf:
    input:
        model=behind_dataset("results/{agent}/model"),
        facts=behind_dataset("results/{agent}/training.json"),
    output:
        gguf="results/{agent}/gguf/f16.gguf",
    log:
        "logs/{agent}/export/f16.log",
    benchmark:
        "benchmarks/{agent}/export/f16.tsv"
    conda:
        "../envs/subterra.yaml"
    params:
        system=lambda wildcards: flowchart(wildcards.agent).system,
        opens=lambda wildcards: flowchart(wildcards.agent).opens,
        tools=lambda wildcards: ordered(flowchart(wildcards.agent).tools()),
        spec_digest=lambda wildcards: flowchart(wildcards.agent).digest,
        code=code_digest("subterra.export.converter"),
    message:
        "{wildcards.agent}: export to f16"
    script:
        "../scripts/export_gguf.py"


rule quantize_gguf:
    input:
        f16=behind_dataset("results/{agent}/gguf/f16.gguf"),
    output:
        gguf="results/{agent}/gguf/{quant}.gguf",
    log:
        "logs/{agent}/export/{quant}.log",
    benchmark:
        "benchmarks/{agent}/export/{quant}.tsv"
    wildcard_constraints:
        quant="(?!f16)[a-z0-9_]+",
    conda:
        "../envs/subterra.yaml"
    params:
        code=code_digest("subterra.export.quantize"),
    message:
        "{wildcards.agent}: quantize to {wildcards.quant}"
    script:
        "../scripts/quantize_gguf.py"


rule check_parity:
    input:
        model=behind_dataset("results/{agent}/model"),
        gguf=behind_dataset("results/{agent}/gguf/f16.gguf"),
        scenarios=ancient(behind_dataset("results/{agent}/dataset/test.parquet")),
        digest=behind_dataset("results/{agent}/dataset/test.digest"),
    output:
        parity="results/{agent}/gguf/parity.json",
    log:
        "logs/{agent}/export/parity.log",
    benchmark:
        "benchmarks/{agent}/export/parity.tsv"
    conda:
        "../envs/subterra.yaml"
    params:
        system=lambda wildcards: flowchart(wildcards.agent).system,
        prompts=config["export"]["parity_prompts"],
        code=code_digest("subterra.export.parity"),
    message:
        "{wildcards.agent}: compare llama.cpp with transformers"
    script:
        "../scripts/check_parity.py"


rule write_card:
    input:
        flowchart=behind_dataset("results/{agent}/flowchart.json"),
        ggufs=behind_dataset("results/{agent}/gguf/{quant}.gguf", quant=QUANTIZATIONS),
        facts=behind_dataset("results/{agent}/training.json"),
        parity=behind_dataset("results/{agent}/gguf/parity.json"),
    output:
        card="results/{agent}/gguf/README.md",
        modelfile="results/{agent}/gguf/Modelfile",
    log:
        "logs/{agent}/export/card.log",
    conda:
        "../envs/subterra.yaml"
    params:
        quants=QUANTIZATIONS,
        context=config["export"]["context"],
        code=code_digest("subterra.export.card"),
    message:
        "{wildcards.agent}: write {output.card} and the Modelfile"
    script:
        "../scripts/write_card.py"
