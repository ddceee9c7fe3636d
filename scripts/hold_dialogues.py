"""gguf/{quant}.gguf and the scenarios -> evaluation/compiled-{quant}/{temperature}/dialogues/{shard}.parquet."""

from subterra.errors import one_line
from subterra.evaluation import Play
from subterra.flowchart import Flowchart
from subterra.records import CONVERSATION, DIALOGUE, read_table, write_table
from subterra.sections import compiled, settings_of

with one_line(snakemake.log[0]):
    config, name = snakemake.config, snakemake.wildcards
    play = Play(
        condition=f"compiled-{name.quant}",
        temperature=float(name.temperature),
        shard=int(name.shard),
        settings=snakemake.params.evaluation,
        customer=settings_of(config, "customer"),
        answering=compiled(config, snakemake.input.gguf, float(name.temperature)),
        section="export",
        seed=snakemake.params.seed,
        tools=snakemake.params.tools,
        cache=config["cache"],
        parallel=config["evaluation"]["parallel"],
        threads=snakemake.threads,
    )
    scenarios = read_table(snakemake.input.scenarios, CONVERSATION)
    dialogues = play.hold(Flowchart.read(snakemake.input.flowchart), scenarios)
    write_table(dialogues, DIALOGUE, snakemake.output.dialogues)
