"""The base is fine-tuned on the agent's turns, and the checkpoint with the least held-out loss is kept.

Required: results/{agent}/dataset/{train,valid}.parquet and train.digest. Written: results/{agent}/model/ (a Hugging
Face folder), training.json, loss.parquet, loss.svg. A run that was killed goes on from its last checkpoint.
"""

if config["training"]["method"] == "lora":
    logger.warning(f"training.{LORA_WARNING}")


rule train_model:
    input:
        digest=behind_dataset("results/{agent}/dataset/train.digest"),
        train=ancient(behind_dataset("results/{agent}/dataset/train.parquet")),
        valid=ancient(behind_dataset("results/{agent}/dataset/valid.parquet")),
    output:
        model=directory("results/{agent}/model"),
        facts="results/{agent}/training.json",
        loss="results/{agent}/loss.parquet",
        curve=report(
            "results/{agent}/loss.svg",
            category="{agent}",
            caption="../rules/captions/loss.rst",
        ),
    log:
        "logs/{agent}/train.log",
    benchmark:
        "benchmarks/{agent}/train.tsv"
    # What takes longest begins first.
    priority: lambda wildcards: flowchart(wildcards.agent).lessons
    conda:
        "../envs/subterra.yaml"
    threads: lambda wildcards: cores_of_training()
    params:
        system=lambda wildcards: flowchart(wildcards.agent).system,
        free=lambda wildcards: flowchart(wildcards.agent).free,
        lessons=lambda wildcards: flowchart(wildcards.agent).lessons,
        base=BASE,
        base_digest=folder_digest(BASE),
        settings=shaping_training(config["training"]),
        seed=config["seed"],
        checkpoints=f"{config['cache']}/training",
        code=code_digest("subterra.training.train"),
    message:
        "{wildcards.agent}: fine-tune {params.base}; progress in {log}"
    script:
        "../scripts/train_model.py"
