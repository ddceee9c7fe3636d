"""What the stages share: the config, checked, and the helpers that say what hangs on what."""

import sys
from functools import cache
from pathlib import Path

# The package lies beside the entries; `script:` finds it by itself, the rules find it by this.
sys.path.insert(0, str(Path(workflow.basedir) / "scripts"))

from subterra.code import code_digest, folder_digest
from subterra.config import check_config
from subterra.errors import one_line
from subterra.flowchart import Flowchart
from subterra.export.quantize import preferred
from subterra.plan import plan_agent, shard_name


configfile: "config/config.yaml"


with one_line():
    check_config(config)

AGENTS = config["agents"]
SHARDS = [shard_name(number) for number in range(config["shards"])]
QUANTIZATIONS = ["f16", *config["export"]["quantizations"]]
CONDITIONS = [f"compiled-{quant}" for quant in QUANTIZATIONS]
TEMPERATURES = [f"{temperature:g}" for temperature in config["evaluation"]["temperatures"]]


wildcard_constraints:
    agent="[a-z][a-z0-9_]*",
    shard="[0-9]+",
    quant="[a-z0-9_]+",
    temperature="[0-9.e-]+",


@cache
def flowchart(agent):
    """The checked procedure of an agent."""
    return Flowchart.from_json(Path(f"results/{agent}/flowchart.json").read_text(encoding="utf-8"))


def behind_dataset(pattern, **lists):
    """Inputs of an agent that are asked for only once its data set is there.

    Snakemake plans before it runs. What stands behind a data set that came out the same must not be planned before
    that is known, so every job behind it asks the checkpoint first.
    """

    def inputs(wildcards):
        checkpoints.assemble_dataset.get(agent=wildcards.agent)
        known = dict(wildcards.items())
        return collect(pattern, **known, **lists) if lists else pattern.format(**known)

    return inputs


def products(agent):
    """All that is built for an agent. What is not listed here is not built again when it is lost."""

    def inputs(wildcards):
        checkpoints.assemble_dataset.get(agent=agent)
        files = collect(
            [
                "results/{agent}/flowchart.svg",
                "results/{agent}/model",
                "results/{agent}/gguf/{quant}.gguf",
                "results/{agent}/gguf/parity.json",
                "results/{agent}/gguf/Modelfile",
                "results/{agent}/gguf/README.md",
                "results/{agent}/evaluation/matcher.json",
                "results/{agent}/evaluation/{condition}/{temperature}/scores.parquet",
                "results/{agent}/report.html",
            ],
            agent=agent,
            quant=QUANTIZATIONS,
            condition=CONDITIONS,
            temperature=TEMPERATURES,
        )
        return sorted(set(files))

    return inputs


def summary_of(agent):
    """The summary of an agent, once its data set is there."""

    def inputs(wildcards):
        checkpoints.assemble_dataset.get(agent=agent)
        return f"results/{agent}/summary.json"

    return inputs


onsuccess:
    print("\nReport:   results/report.html")
    for agent in AGENTS:
        print(f"Model:    results/{agent}/gguf/{preferred(QUANTIZATIONS)}.gguf")
        print(f"Talk:     make chat AGENT={agent}")
