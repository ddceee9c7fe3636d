"""What a person sees: a page an engineer would forward, its talks on a second one, and the same figures for machines.

The pages are written from files alone, so they can be written again without running anything else. A figure
that was not measured is said to be "not run", or "counted, not run"; nothing is estimated.
"""

from subterra.report.inputs import ReportInputs
from subterra.report.page import render, render_overview, render_transcripts
from subterra.report.summary import summarise

__all__ = ["ReportInputs", "build_report", "render", "render_overview", "render_transcripts", "summarise"]


def build_report(inputs: ReportInputs) -> tuple[str, str, dict]:
    """Return the page of one agent, the page of its transcripts (transcripts.html beside it) and the summary."""
    evidence = inputs.load()
    summary = summarise(evidence)
    talks, kept = render_transcripts(summary, evidence)
    return render(summary, evidence, kept), talks, summary
