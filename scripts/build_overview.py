"""{agent}/summary.json of every agent -> results/report.html."""

import json
from pathlib import Path

from subterra.errors import one_line
from subterra.report import render_overview
from subterra.text import write_whole

with one_line(snakemake.log[0]):
    summaries = [json.loads(Path(file).read_text(encoding="utf-8")) for file in snakemake.input]
    write_whole(snakemake.output.page, render_overview(summaries))
