"""From specs to checked flowcharts, paths and the work of each shard.

Required: specs/{agent}.yaml. Written: results/{agent}/flowchart.json, paths.json, paths.parquet, shards/{shard}.json,
and the picture. All but the picture are written while the workflow is parsed, since Snakemake plans before it runs:
to it they are sources, and a shard whose work came out the same keeps its time.
"""

PLAN_SETTINGS = ("seed", "paths", "held_out", "conversations", "interruptions", "shards")

# A folder that another run has locked keeps its plan: Snakemake refuses to go on a moment later.
if workflow.is_main_process and not any(Path(".snakemake/locks").glob("*")):
    with one_line():
        for agent in AGENTS:
            plan_agent(
                f"specs/{agent}.yaml",
                f"results/{agent}",
                {key: config[key] for key in PLAN_SETTINGS} | {"teacher": shaping(config["teacher"])},
            )


rule draw_flowchart:
    input:
        flowchart="results/{agent}/flowchart.json",
    output:
        picture=report(
            "results/{agent}/flowchart.svg",
            category="{agent}",
            caption="../rules/captions/flowchart.rst",
        ),
        mermaid="results/{agent}/flowchart.mmd",
    log:
        "logs/{agent}/draw.log",
    conda:
        "../envs/subterra.yaml"
    params:
        code=code_digest("subterra.picture"),
    message:
        "{wildcards.agent}: draw the flowchart"
    script:
        "../scripts/draw_flowchart.py"
