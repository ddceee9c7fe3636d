"""Which run the verdict speaks of, which others it is compared with, and in which order all are told."""

from subterra.report.inputs import Evidence, Run

SPLITS = ("known", "held_out_paths", "held_out_values", "held_out_phrasings", "interruptions")
ALL = "all"  # stands for a split where the figures are over all of them


def headline(evidence: Evidence) -> Run | None:
    """Return the run that the verdict speaks of, None where nothing was run."""
    measured = [run for run in evidence.runs if run.scores]
    return min(measured, key=lambda run: order(run.condition, run.temperature), default=None)


def compared(evidence: Evidence) -> list[Run]:
    """Return one run of every other condition: at the headline's temperature, or else at its lowest."""
    first = headline(evidence)
    found: dict[str, Run] = {}
    for run in sorted(evidence.runs, key=lambda run: run.temperature):
        other = first and run.scores and run.condition != first.condition
        if other and (run.condition not in found or run.temperature == first.temperature):
            found[run.condition] = run
    return sorted(found.values(), key=lambda run: preference(run.condition))


def order(condition: str, temperature: float) -> tuple:
    """Sort key of runs, fixed before anything is measured: compiled before the rest, greedy before sampled."""
    return not condition.startswith("compiled-"), temperature, *preference(condition)


def preference(condition: str) -> tuple[bool, bool, str]:
    """Sort key of conditions: Q8_0, then other compiled models, then the rest."""
    return condition != "compiled-q8_0", not condition.startswith("compiled-"), condition


def split_order(split: str) -> tuple[int, str]:
    """Sort key: the order of SPLITS, then the others by name."""
    return (SPLITS.index(split) if split in SPLITS else len(SPLITS), split)
