"""evaluation/{condition}/{temperature}/dialogues/*.parquet -> scores.parquet beside that folder."""

from subterra import matcher
from subterra.conformance import score_dialogues
from subterra.errors import one_line
from subterra.flowchart import Flowchart
from subterra.records import CONVERSATION, DIALOGUE, SCORE, read_table, read_tables, write_table

with one_line(snakemake.log[0]):
    scores = score_dialogues(
        Flowchart.read(snakemake.input.flowchart),
        read_table(snakemake.input.scenarios, CONVERSATION),
        read_tables(snakemake.input.dialogues, DIALOGUE),
        matcher.load(snakemake.input.matcher),
    )
    write_table(scores, SCORE, snakemake.output.scores)
