"""A base that speaks and copies is pretrained on dialogues that grammars make up. Not part of `all`.

Required: nothing. Written: results/bases/embedded/model/ (a Hugging Face folder), pretraining.json, loss.parquet, and
what it can do then: skills.json and README.md. What `base: embedded` names is such a folder, in bases/embedded.
A run that was killed goes on from its last checkpoint.
"""


rule embedded_base:
    input:
        "results/bases/embedded/model",
        "results/bases/embedded/README.md",
    message:
        "The base is in {input[0]}: name it as `base` in the config. The one in bases/embedded is model/* and *.json of it."


rule pretrain_base:
    output:
        model=directory("results/bases/embedded/model"),
        facts="results/bases/embedded/pretraining.json",
        loss="results/bases/embedded/loss.parquet",
    log:
        "logs/bases/embedded.log",
    benchmark:
        "benchmarks/bases/embedded.tsv"
    conda:
        "../envs/subterra.yaml"
    threads: workflow.cores
    params:
        settings=ordered(config["pretraining"]),
        seed=config["seed"],
        checkpoints=f"{config['cache']}/pretraining",
        corpus=corpus_digest(),
        code=code_digest("subterra.pretraining.pretrain"),
    message:
        "Pretrain the embedded base; progress in {log}"
    script:
        "../scripts/pretrain_base.py"


rule measure_base:
    input:
        model="results/bases/embedded/model",
        facts="results/bases/embedded/pretraining.json",
    output:
        skills="results/bases/embedded/skills.json",
        card="results/bases/embedded/README.md",
    log:
        "logs/bases/embedded_skills.log",
    benchmark:
        "benchmarks/bases/embedded_skills.tsv"
    conda:
        "../envs/subterra.yaml"
    threads: workflow.cores
    params:
        settings=ordered(config["pretraining"]),
        seed=config["seed"] + 2,
        samples=config["pretraining"]["measured"],
        code=code_digest("subterra.pretraining.card"),
    message:
        "Measure what the embedded base can do"
    script:
        "../scripts/measure_base.py"
