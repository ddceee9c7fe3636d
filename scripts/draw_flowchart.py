"""flowchart.json -> flowchart.svg and flowchart.mmd."""

from subterra import picture
from subterra.errors import one_line
from subterra.flowchart import Flowchart
from subterra.text import write_whole

with one_line(snakemake.log[0]):
    flowchart = Flowchart.read(snakemake.input.flowchart)
    write_whole(snakemake.output.picture, picture.svg(flowchart))
    write_whole(snakemake.output.mermaid, picture.mermaid(flowchart))
