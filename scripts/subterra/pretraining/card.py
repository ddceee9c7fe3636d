"""The model card of the embedded base: what it is, what it read, and what it can do, all of it measured."""

from collections.abc import Mapping, Sequence

from subterra.pretraining.skills import share
from subterra.progress import duration

OPENING = """\
---
language: en
pipeline_tag: text-generation
---
# The embedded base of Subterra

A language model that has read nothing anybody wrote. It was pretrained on talks between customers and agents that
grammars make up (`scripts/subterra/pretraining/`): random procedures in random trades, with names, dates, amounts and
codes drawn for each talk alone, and drills in repeating, looking up, taking notes, answering by a made-up procedure,
knowing which words belong together, telling things apart and calling a tool. None of it is taken from `specs/`; a test
compares runs of seven words. It knows no facts. What it brings is how people say what they want, and that a value is
repeated as it was said. Fine-tune it on a procedure; alone it is of no use.
"""


def base_card(config: Mapping, settings: Mapping, facts: Mapping, skills: Mapping) -> str:
    """Return the README.md of a base as Markdown.

    `config` is its config.json, `settings` the config's section `pretraining`, `facts` what `pretrain` returned and
    `skills` what `measure` did.
    """
    shape = (
        f"{config['model_type']}, {config['num_hidden_layers']} layers of {config['hidden_size']} with "
        f"{config['intermediate_size']} inside, {config['num_attention_heads']} heads"
    )
    tokenizer = f"byte-level BPE, {config['vocab_size']:,} tokens, " + (
        "each digit apart" if settings["digits"] else "numbers in pieces"
    )
    rows = {
        "architecture": shape,
        "parameters": f"{facts['parameters']:,}",
        "context": f"{config['max_position_embeddings']:,} tokens",
        "tokenizer": tokenizer,
        "pretraining": f"{facts['steps']:,} steps of at most {settings['tokens_per_step']:,} tokens, "
        f"{duration(facts['seconds'])} on {facts['device']}, in {facts['precision']}",
        "held-out loss": f"{facts['valid_loss']:.3f} nats a token",
        "held-out text": f"{skills['bits_per_byte']:.3f} bits a byte",
        "next step of an unseen procedure, of four": _rate(skills["steps"]),
        "sign for a wish, as the system prompt says": _rate(skills["signs"]),
        "values said again": _rate({key: sum(row[key] for row in skills["copied"]) for key in ("right", "total")}),
        "words of one token said again in their place": _rate(skills["words"]),
    }
    table = "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows.items())])
    return "\n".join([OPENING, table, "", _copying(skills["copied"]), ""])


def _copying(rows: Sequence[Mapping]) -> str:
    """Return the table of copying, distances down and lengths across."""
    distances, lengths = (sorted({row[key] for row in rows}) for key in ("distance", "length"))
    lines = [
        "How often a value comes out right to its last token, by the tokens since it was said last (down) and its "
        "length in tokens (across), each from here to the next:\n",
        f"| tokens since | {' | '.join(map(str, lengths))} |",
        "| --- " * (len(lengths) + 1) + "|",
    ]
    for distance in distances:
        found = [[row for row in rows if (row["distance"], row["length"]) == (distance, length)] for length in lengths]
        lines.append(f"| {distance} | {' | '.join(_rate(cell[0]) if cell else '-' for cell in found)} |")
    return "\n".join(lines)


def _rate(row: Mapping) -> str:
    return f"{100 * share([row]):.1f} % of {row['total']:,}"
