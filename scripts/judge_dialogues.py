"""evaluation/{condition}/{temperature}/dialogues/*.parquet -> judgements/{judge}.parquet beside that folder."""

from subterra.errors import one_line
from subterra.flowchart import Flowchart
from subterra.judging import judge_all
from subterra.records import CONVERSATION, DIALOGUE, JUDGEMENT, read_table, read_tables, write_table
from subterra.sections import settings_of

with one_line(snakemake.log[0]):
    config, section = snakemake.config, snakemake.wildcards.judge
    judgements = judge_all(
        Flowchart.read(snakemake.input.flowchart),
        read_table(snakemake.input.scenarios, CONVERSATION),
        read_tables(snakemake.input.dialogues, DIALOGUE),
        settings_of(config, section),
        section,
        seed=snakemake.params.seed,
        cache=config["cache"],
        parallel=config["evaluation"]["parallel"],
    )
    write_table(judgements, JUDGEMENT, snakemake.output.judgements)
