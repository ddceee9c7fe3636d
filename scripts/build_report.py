"""Everything of one agent -> report.html, transcripts.html and summary.json."""

from subterra import __version__
from subterra.errors import one_line
from subterra.report import ReportInputs, build_report
from subterra.text import pretty, write_whole

with one_line(snakemake.log[0]):
    page, transcripts, summary = build_report(
        ReportInputs(
            flowchart_json=snakemake.input.flowchart,
            dataset_summary=snakemake.input.dataset,
            paths_summary=snakemake.input.paths,
            training_json=snakemake.input.training,
            loss_parquet=snakemake.input.loss,
            parity_json=snakemake.input.parity,
            matcher_json=snakemake.input.matcher,
            gguf=dict(zip(snakemake.params.quants, snakemake.input.ggufs, strict=True)),
            evaluation=[
                (run["condition"], float(run["temperature"]), run["dialogues"], run["scores"][0], run["judgements"])
                for run in snakemake.params.runs
            ],
            costs_json=snakemake.input.costs,
            paper_yaml=snakemake.input.paper,
            benchmark_dir=snakemake.params.benchmarks,
            version=__version__,
            worst=snakemake.params.worst,
        )
    )
    write_whole(snakemake.output.page, page)
    write_whole(snakemake.output.transcripts, transcripts)
    write_whole(snakemake.output.summary, pretty(summary))
