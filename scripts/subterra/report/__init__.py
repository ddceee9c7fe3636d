"""What a person sees: one page an engineer would forward, and the same figures as summary.json for machines.

The page is written from files alone, so it can be written again without running anything else. A figure
that was not measured is said to be "not run"; nothing is estimated.
"""

from subterra.report.inputs import ReportInputs
from subterra.report.page import render, render_overview
from subterra.report.summary import summarise

__all__ = ["ReportInputs", "build_report", "render", "render_overview", "summarise"]


def build_report(inputs: ReportInputs) -> tuple[str, dict]:
    """Return the page and the summary of one agent."""
    evidence = inputs.load()
    summary = summarise(evidence)
    return render(summary, evidence), summary
