"""Print the tables of the README from finished builds: conformance and what is counted beside it, time by stage, costs.

PYTHONPATH=scripts python benchmarks/results_table.py results/*/summary.json
"""

import json
import sys
from pathlib import Path

from subterra.progress import duration
from subterra.report.headline import split_order
from subterra.report.page import COUNTS
from subterra.statistics import wilson

Row = dict


def share(right: int, total: int) -> str:
    return f"{100 * right / total:.1f} %" if total else "-"


def table(head: list[str], rows: list[list]) -> str:
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in [head, ["---"] * len(head), *rows])


def conformance(rows: list[Row], name: str) -> str:
    """One row for each split of each run or agent; columns that nobody asked for are left out."""
    counts = [count for count in COUNTS if any(row[count[2]] for row in rows)]
    head = [name, "split", "conversations", "conform (95 %)", "right end", *(what.lower() for what, _, _ in counts)]
    found = []
    for row in rows:
        low, high = wilson(row["conforming"], row["conversations"])
        found.append(
            [
                row["name"],
                row["split"].replace("_", " "),
                row["conversations"],
                f"{share(row['conforming'], row['conversations'])} ({100 * low:.0f} to {100 * high:.0f})",
                share(row["outcome_correct"], row["conversations"]),
                *(share(row[right], row[total]) for _, right, total in counts),
            ]
        )
    return table(head, found)


def runs(summary: dict) -> list[Row]:
    """The rows of an agent's evaluation, named by model and temperature."""
    rows = sorted(
        summary["evaluation"],
        key=lambda row: (row["temperature"], -(row["file_bytes"] or 0), split_order(row["split"])),
    )
    return [row | {"name": f"{row['condition']}, {row['temperature']:g}"} for row in rows]


def headline(summaries: list[dict]) -> list[Row]:
    """The rows of Q8_0, greedy, of every agent."""
    return [
        row | {"name": summary["agent"]}
        for summary in summaries
        for row in runs(summary)
        if row["condition"] == "compiled-q8_0" and not row["temperature"]
    ]


def checks(summary: dict) -> str:
    matcher, parity, training = summary["matcher"], summary["parity"], summary["training"]
    return (
        f"Matcher on held-out labelled turns: {matcher['correct']:,} of {matcher['turns']:,} right. "
        f"llama.cpp against transformers: {parity['same_tokens']:,} of {parity['tokens']:,} greedy tokens equal. "
        f"Training: {training['conversations']:,} conversations, {training['steps']:,} steps, {training['tokens']:,} "
        f"tokens an epoch, {training['parameters']:,} parameters, {duration(training['seconds'])}."
    )


def costs(summaries: list[dict]) -> str:
    """What a conversation costs under each condition, an agent and condition a row; ratios to the compiled model's."""
    head = ["agent", "condition", "", "calls", "tokens in", "kept", "tokens out", "$ a conversation", "$, prompts kept"]
    rows = []
    for summary in summaries:
        against = {one["condition"]: one for one in summary["costs"]["against"]}
        for one in summary["costs"]["conditions"]:
            if one["condition"].startswith("compiled-") and one["condition"] != summary["costs"]["headline"]:
                continue
            ratios = against.get(one["condition"])
            rows.append(
                [
                    *(summary["agent"], one["condition"], one["how"], f"{one['calls']:.1f}"),
                    *(f"{one[key]:,.0f}" for key in ("tokens_in", "tokens_cached", "tokens_out")),
                    f"{one['dollars']:.2g}",
                    f"{one['dollars_cached']:.2g}" if one["dollars_cached"] else "-",
                    f"{ratios['ratio_at_the_papers_prices']:,.0f}" if ratios else "1",
                    f"{ratios['break_even']:,.1f}" if ratios and ratios["break_even"] is not None else "-",
                ]
            )
    return table([*head, "times ours, the paper's prices", "break-even"], rows)


def stages(summaries: list[dict]) -> str:
    """Seconds by stage, added up over jobs, an agent a column."""
    names = list(dict.fromkeys(row["stage"] for summary in summaries for row in summary["stages"]))
    seconds = [{row["stage"]: row["seconds"] for row in summary["stages"]} for summary in summaries]
    rows = [[name, *(f"{found.get(name, 0):.1f}" for found in seconds)] for name in names]
    return table(["stage", *(summary["agent"] for summary in summaries)], rows)


def main(files: list[str]) -> None:
    summaries = [json.loads(Path(file).read_text(encoding="utf-8")) for file in files]
    print(f"Q8_0, greedy:\n\n{conformance(headline(summaries), 'agent')}\n")
    for summary in summaries:
        print(f"<details><summary>{summary['title']}: every model and temperature</summary>\n")
        print(f"{conformance(runs(summary), 'model, temperature')}\n\n{checks(summary)}\n\n</details>\n")
    print(stages(summaries), end="\n\n")
    print(costs(summaries))


if __name__ == "__main__":
    main(sys.argv[1:])
