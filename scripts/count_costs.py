"""Every evaluation's dialogues, and the prices -> evaluation/costs.json."""

import json
from pathlib import Path

from subterra.economics import count_costs
from subterra.errors import one_line
from subterra.estimate import token_counter
from subterra.flowchart import Flowchart
from subterra.records import CONVERSATION, DIALOGUE, read_table, read_tables
from subterra.text import pretty, write_whole

with one_line(snakemake.log[0]):
    params = snakemake.params
    dataset = json.loads(Path(snakemake.input.dataset).read_text(encoding="utf-8"))
    costs = count_costs(
        Flowchart.read(snakemake.input.flowchart),
        read_table(snakemake.input.scenarios, CONVERSATION),
        {(run["condition"], run["temperature"]): read_tables(run["dialogues"], DIALOGUE) for run in params.runs},
        teacher_dollars=dataset["teacher"]["dollars"],
        benchmarks=params.benchmarks,
        machine=params.costs["machine"],
        frontier=params.frontier,
        tokens=token_counter(params.tokenizer),
        tokenizer=params.tokenizer,
    )
    write_whole(snakemake.output.costs, pretty(costs))
