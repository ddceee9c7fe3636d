"""Words left out of what the customer says, so that what a small model understands hangs on no single one of them.

A small model tells a customer's lines apart by a word or two, and is lost where another wording lacks them. With words
missing at random, others every time, it has to read them all (word dropout: Iyyer et al., ACL 2015).
"""

import random
from collections.abc import Mapping, Sequence

MARKS = ".,;:!?\"'()"


def with_dropped_words(rows: Sequence[Mapping], share: float, seed: int) -> Sequence[Mapping]:
    """Return conversation rows (records.CONVERSATION) whose customers leave out about `share` of their words.

    Words of the row's values stay, and those with digits: they are to be repeated, or decide something. So does a line
    that would have no word left. A row's lot depends on its id and the seed alone.
    """
    return [_dropped(row, share, random.Random(f"dropped {seed} {row['id']}")) for row in rows] if share else rows


def _dropped(row: Mapping, share: float, rng: random.Random) -> Mapping:
    kept = {word for said in (row["values"], row["corrected"]) for value in said.values() for word in value.split()}

    def stays(word: str) -> bool:
        return word.strip(MARKS) in kept or any(map(str.isdigit, word)) or rng.random() >= share

    def left(text: str) -> str:
        return " ".join(filter(stays, text.split())) or text

    turns = [{**turn, "content": left(turn["content"])} if turn["role"] == "user" else turn for turn in row["turns"]]
    return {**row, "turns": turns}
