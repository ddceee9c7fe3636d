"""flowchart.json -> flowchart.svg and flowchart.mmd."""

from pathlib import Path

from subterra import picture
from subterra.errors import one_line
from subterra.flowchart import Flowchart
from subterra.text import write_whole

with one_line(snakemake.log[0]):
    flowchart = Flowchart.from_json(Path(snakemake.input.flowchart).read_text(encoding="utf-8"))
    write_whole(snakemake.output.picture, picture.svg(flowchart))
    write_whole(snakemake.output.mermaid, picture.mermaid(flowchart))
