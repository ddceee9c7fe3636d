"""What training will take, told before anything is built: `snakemake --cores 1 plan` prints it. Not part of `all`.

Required: config/gpus.yaml. Written: nothing, so that it is told anew whenever it is asked for. Where
results/{agent}/dataset/ is there, its conversations are counted; until then, what the spec's phrasings come to.
"""


rule plan:
    input:
        gpus="config/gpus.yaml",
    log:
        "logs/plan.log",
    localrule: True
    conda:
        "../envs/subterra.yaml"
    params:
        folders=collect("results/{agent}", agent=AGENTS),
        base=BASE,
        embedded=base_folder("embedded"),
        settings=ordered(taught_by(config["teacher"]["backend"], config["training"])),
    message:
        "What training {params.base} takes"
    script:
        "../scripts/size_training.py"
