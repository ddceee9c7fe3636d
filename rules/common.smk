"""What the stages share: the config, checked, and what follows from it."""

import sys
from functools import cache
from pathlib import Path

# The package lies beside the entries; `script:` finds it by itself, the rules find it by this.
sys.path.insert(0, str(Path(workflow.basedir) / "scripts"))

from subterra.code import code_digest, folder_digest
from subterra.config import BASES, base_folder, check_config, cores_filled, shaping_training, taught_by
from subterra.errors import one_line
from subterra.flowchart import Flowchart
from subterra.models.asking import shaping
from subterra.plan import plan_agent, shard_name
from subterra.pretraining.corpus import corpus_digest
from subterra.prompts import prompts_digest
from subterra.sections import (
    CODE,
    answering,
    baselines,
    name_of,
    part_of,
    played,
    settings_of,
    takes_part,
    temperature_of,
)
from subterra.training.lora import LORA_WARNING


configfile: "config/config.yaml"


with one_line():
    check_config(config)
    BASE = base_folder(config["base"])

AGENTS = config["agents"]
ASKS_A_MODEL = config["teacher"]["backend"] != "builtin"
SHARDS = [shard_name(number) for number in range(config["shards"])]
QUANTIZATIONS = ["f16", *config["export"]["quantizations"]]
TEMPERATURES = [f"{temperature:g}" for temperature in config["evaluation"]["temperatures"]]
JUDGES = [section for section in ("judge", "second_judge") if takes_part(config, section)]
PLAYED = [shard_name(number) for number in range(config["evaluation"]["shards"])]

with one_line():
    BASELINES = {name: f"{temperature_of(settings):g}" for name, settings in baselines(config).items()}
    # What of the models that take part makes their answers others.
    ANSWERING = {name: answering(config, name) for name in BASELINES}
    CUSTOMER = part_of(config, "customer", "customer")
    JUDGING = {name: part_of(config, name, "judge") for name in JUDGES}

# Every evaluation: who answers, and at which temperature. What the first quantization loses to f16, and the others to
# both, is measured at the first one.
MAIN = QUANTIZATIONS[:2][-1]
RUNS = [
    (f"compiled-{quant}", temperature)
    for quant in QUANTIZATIONS
    for temperature in (TEMPERATURES if quant == MAIN else TEMPERATURES[:1])
]
RUNS += BASELINES.items()


wildcard_constraints:
    agent="[a-z][a-z0-9_]*",
    shard="[0-9]+",
    quant="[a-z0-9_]+",
    temperature="[0-9.e-]+",
    condition="[a-z0-9_-]+",
    judge="judge|second_judge",


def ordered(section):
    """A section of the config with its keys in order: to Snakemake another order is another value."""
    return dict(sorted(section.items()))


@cache
def flowchart(agent):
    """The checked procedure of an agent."""
    return Flowchart.read(f"results/{agent}/flowchart.json")


def cores_of_training():
    """The cores of one training. A base of ours fills few; a larger one fills cores, memory or GPUs by itself."""
    return cores_filled(config["training"], BASE) if Path(BASE).parent == BASES else workflow.cores
