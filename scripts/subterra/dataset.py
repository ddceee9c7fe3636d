"""From the shards' conversations to train, valid and test: checked, without duplicates, each with a digest beside it.

The digests are what later stages hang on: a data set that came out the same stops them.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from subterra import paths, records
from subterra.conformance import says
from subterra.errors import SubterraError
from subterra.flowchart import HEARD, walked
from subterra.quality import too_many
from subterra.text import PLACEHOLDER, digest, pretty, write_whole

PARTS = {
    "train": ("train",),
    "valid": ("valid",),
    "test": ("known", "held_out_paths", "held_out_values", "held_out_phrasings", "interruptions"),
}
MOST_TOLD = 10
LEAK = re.compile(r"<\|\w+\|>")


def assemble(
    shards: Sequence[str | Path],
    counts: Sequence[Mapping],
    paths_told: Mapping,
    folder: str | Path,
    max_failures: float = 1.0,
) -> dict:
    """Write {train,valid,test}.parquet, {train,test}.digest and summary.json into `folder`.

    `train.digest` covers train and valid, what training sees. `counts` holds what each shard says of its teacher,
    `paths_told` what paths.json says. Conversations whose words are the same as earlier ones' are dropped, in the
    order of the parts, so that no test conversation is one that was trained on.
    Returns the summary. Raises SubterraError with a line for each conversation that cannot be used, and where the
    teacher had to leave out more than the share `max_failures` of what it was asked for.
    """
    rows = sorted((row for shard in shards for row in records.read_table(shard)), key=lambda row: row["id"])
    mistakes = [line for row in rows for line in faults(row)]
    if mistakes:
        more = [f"and {len(mistakes) - MOST_TOLD:,} more"] if len(mistakes) > MOST_TOLD else []
        raise SubterraError("\n".join(mistakes[:MOST_TOLD] + more))
    seen: set[str] = set()
    parts = {part: _without_duplicates(rows, splits, seen) for part, splits in PARTS.items()}
    folder = Path(folder)
    summary = _summary(parts, len(rows), counts, paths_told)
    _check_losses(summary["teacher"].get("funnel"), max_failures)
    for part, kept in parts.items():
        records.write_table(kept, records.CONVERSATION, folder / f"{part}.parquet")
    write_whole(folder / "summary.json", pretty(summary))
    write_whole(folder / "train.digest", digest([parts["train"], parts["valid"]]) + "\n")
    write_whole(folder / "test.digest", digest([parts["test"], agent_turns(parts["train"])]) + "\n")
    return summary


def _check_losses(funnel: Mapping | None, most: float) -> None:
    """Raise SubterraError where more than a share of the conversations were left out."""
    lost = funnel["asked"] - funnel["kept"] if funnel else 0
    if lost and lost > most * funnel["asked"]:
        raise SubterraError(too_many(funnel["dropped"], funnel["asked"], most))


def faults(row: Mapping) -> list[str]:
    """Return a line for everything that makes a conversation unfit to learn from."""
    found = []
    place = f"conversation {row['id']}"
    if not any(turn["role"] == "assistant" for turn in row["turns"]):
        found.append(f"{place}: the agent says nothing: give a node on the path `says`")
    for number, turn in enumerate(row["turns"]):
        at = f"{place}, turn {number} ({'+'.join(turn['nodes'])})"
        if number and row["turns"][number - 1]["role"] == turn["role"]:
            found.append(f"{at}: {turn['role']} speaks twice running: the teacher has to alternate")
        if not turn["content"].strip() and not turn["call"]:
            found.append(f"{at}: nothing is said")
        if left := PLACEHOLDER.search(turn["content"]):
            found.append(f"{at}: {left.group(0)} was not filled in")
        if left := LEAK.search(turn["content"]):
            found.append(f"{at}: {left.group(0)} is a control token, not speech")
        for name, value in turn["values"].items():
            if not says(turn["content"], value):
                found.append(f"{at}: {name} '{value}' is not said: the prompt asks for it")
    return found


def agent_turns(rows: Iterable[Mapping]) -> list[tuple[str, str]]:
    """Return the agent's words in conversations as (text, run of the nodes that say them), as a matcher learns them."""
    return [
        (turn["content"], "+".join(turn["nodes"][:-1] if turn["call"] else turn["nodes"]))
        for row in rows
        for turn in row["turns"]
        if turn["role"] == "assistant" and turn["content"]
    ]


def customer_words(rows: Iterable[Mapping]) -> list[str]:
    """Return the customer's turns of conversations."""
    return [turn["content"] for row in rows for turn in row["turns"] if turn["role"] == "user"]


def added(funnels: Sequence[Mapping]) -> dict:
    """Return what shards say of their conversations, added up.

    >>> added([{"asked": 4, "dropped": {"empty": 1}}, {"asked": 5, "dropped": {}}])
    {'asked': 9, 'dropped': {'empty': 1}}
    """
    found = {}
    for key, first in funnels[0].items():
        parts = [funnel[key] for funnel in funnels]
        found[key] = (
            dict(sorted(sum(map(Counter, parts), Counter()).items())) if isinstance(first, Mapping) else sum(parts)
        )
    return found


def _without_duplicates(rows: Sequence[dict], splits: Sequence[str], seen: set[str]) -> list[dict]:
    kept = []
    for row in rows:
        if row["split"] in splits:
            words = digest([[turn["role"], turn["content"], turn["call"]] for turn in row["turns"]])
            if words not in seen:
                seen.add(words)
                kept.append(row)
    return kept


def _summary(parts: Mapping[str, Sequence[dict]], written: int, counts: Sequence[Mapping], paths_told: Mapping) -> dict:
    everything = [row for rows in parts.values() for row in rows]
    trained = {tuple(walked(row["nodes"])) for row in parts["train"]}
    teacher = dict(counts[0])
    for key in ("calls", "cached", "tokens_in", "tokens_cached", "tokens_out", "dollars"):
        teacher[key] = sum(count[key] for count in counts)
    if "funnel" in teacher:
        teacher["funnel"] = added([count["funnel"] for count in counts])
    return {
        "conversations": dict(sorted(Counter(row["split"] for row in everything).items())),
        "turns": sum(len(row["turns"]) for row in everything),
        "dropped": {"duplicates": written - len(everything)},
        "interrupted": sum(any(name.endswith(HEARD) for name in row["nodes"]) for row in parts["train"]),
        "paths": {"trained": len({row["path"] for row in parts["train"]}), "held_out": paths_told["held_out"]},
        "edges_covered": [len(paths.edges_of(trained)), paths_told["edges_covered"]],
        "edge_pairs_covered": [len(paths.edge_pairs_of(trained)), paths_told["edge_pairs_covered"]],
        "held_out_values": paths_told["held_out_values"],
        "teacher": teacher,
    }
