"""The endless corpus: sample number `index` of a seed is always the same, on every machine and in every order.

sample(7, 0) -> {"kind": "dialogue", "system": "...", "turns": [{"role", "content", "values", "own"}, ...]}
"""

import random
from collections.abc import Iterator
from pathlib import Path

from subterra.code import code_digest
from subterra.pretraining.dialogues import dialogue
from subterra.pretraining.drills import drill
from subterra.text import digest

SHARES = {"dialogue": 0.56, "long": 0.16, "drill": 0.28}
MORE = (1, 3)  # talks that follow in a long one


def sample(seed: int, index: int) -> dict:
    """Return one conversation: {kind, system, turns}; turns alternate and end with the agent."""
    rng = random.Random(f"{seed} {index}")
    kind = rng.choices(list(SHARES), list(SHARES.values()))[0]
    if kind == "drill":
        return {"kind": kind} | drill(rng)
    return {"kind": kind} | dialogue(rng, rng.randint(*MORE) if kind == "long" else 0)


def stream(seed: int, first: int = 0, step: int = 1) -> Iterator[dict]:
    """Yield samples for ever: worker `first` of `step` workers, or from where a run was cut off."""
    index = first
    while True:
        yield sample(seed, index)
        index += step


def corpus_digest() -> str:
    """Return a digest of all that shapes the corpus: the code, and the grammars and topics beside it."""
    data = sorted(file for file in Path(__file__).parent.iterdir() if file.suffix in (".grammar", ".yaml"))
    return digest([code_digest(__name__), *(digest(file.read_bytes()) for file in data)])
