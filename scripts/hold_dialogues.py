"""gguf/{quant}.gguf and the scenarios -> evaluation/compiled-{quant}/{temperature}/dialogues.parquet."""

from subterra.dialogue import chosen, hold_dialogues
from subterra.errors import one_line
from subterra.models.gguf import GgufModel
from subterra.records import CONVERSATION, DIALOGUE, read_table, write_table
from subterra.tools import own_tools

with one_line(snakemake.log[0]), GgufModel(snakemake.input.gguf) as model:
    scenarios = chosen(read_table(snakemake.input.scenarios, CONVERSATION), snakemake.params.scenarios)
    dialogues = hold_dialogues(
        model,
        scenarios,
        snakemake.params.system,
        condition=f"compiled-{snakemake.wildcards.quant}",
        temperature=float(snakemake.wildcards.temperature),
        seed=snakemake.params.seed,
        max_turns=snakemake.params.max_turns,
        own=own_tools(snakemake.params.tools),
    )
    write_table(dialogues, DIALOGUE, snakemake.output.dialogues)
