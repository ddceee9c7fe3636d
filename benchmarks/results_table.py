"""Print the tables of the README from a finished build: conformance, values, sizes, speed, and time by stage.

PYTHONPATH=scripts python benchmarks/results_table.py results/travel_booking/summary.json
"""

import json
import sys
from pathlib import Path

from subterra.progress import duration
from subterra.report.summary import split_order
from subterra.statistics import wilson


def share(right: int, total: int) -> str:
    return f"{100 * right / total:.1f} %" if total else "-"


def conformance(rows: list[dict]) -> list[str]:
    lines = [
        "| model | temperature | paths | conversations | conform (95 %) | right end | values said | tokens/s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in sorted(rows, key=lambda r: (r["temperature"], -(r["file_bytes"] or 0), split_order(r["split"]))):
        low, high = wilson(row["conforming"], row["conversations"])
        size = f" ({row['file_bytes'] / 1e6:.1f} MB)" if row["file_bytes"] else ""
        cells = [
            row["condition"] + size,
            f"{row['temperature']:g}",
            row["split"].replace("_", " "),
            row["conversations"],
            f"{share(row['conforming'], row['conversations'])} ({100 * low:.0f} to {100 * high:.0f})",
            share(row["outcome_correct"], row["conversations"]),
            share(row["values_correct"], row["values_total"]),
            f"{row['tokens_per_second']:,.0f}" if row["tokens_per_second"] else "-",
        ]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def stages(rows: list[dict]) -> list[str]:
    lines = ["| stage | jobs | seconds, added up |", "| --- | --- | --- |"]
    return lines + [f"| {row['stage']} | {row['jobs']} | {row['seconds']:.1f} |" for row in rows]


def main(file: str) -> None:
    summary = json.loads(Path(file).read_text(encoding="utf-8"))
    matcher, parity, training = summary["matcher"], summary["parity"], summary["training"]
    print(f"### {summary['title']}\n")
    print("\n".join(conformance(summary["evaluation"])), end="\n\n")
    print(f"Matcher on held-out labelled turns: {matcher['correct']:,} of {matcher['turns']:,} right.")
    print(f"llama.cpp against transformers: {parity['same_tokens']:,} of {parity['tokens']:,} greedy tokens equal.")
    print(
        f"Training: {training['steps']:,} steps, {training['tokens']:,} tokens an epoch, "
        f"{training['parameters']:,} parameters, {duration(training['seconds'])}.\n"
    )
    print("\n".join(stages(summary["stages"])))


if __name__ == "__main__":
    main(sys.argv[1])
