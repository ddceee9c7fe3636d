"""Write bases/scratch: the shape of a small Llama, and a tokenizer learned from training conversations.

The folder holds no weights, so training starts from random ones; a Hugging Face folder or id goes in the same place.
The tokenizer learns from training conversations alone: held-out values stay in pieces that it has seen elsewhere.

    PYTHONPATH=scripts python bases/make_scratch.py results/travel_booking/dataset/train.parquet ...
"""

import sys
from pathlib import Path

from subterra.records import CONVERSATION, read_table
from subterra.training.base import spoken, write_base

FOLDER = Path(__file__).parent / "scratch"


def main(files: list[str]) -> None:
    rows = [row for file in files for row in read_table(file, CONVERSATION)]
    texts = [text for row in rows for text in spoken(row["turns"])]
    size = write_base(FOLDER, [*texts, *["system\n"] * 100], vocabulary=2048)
    print(f"{FOLDER}: {size:,} tokens")


if __name__ == "__main__":
    main(sys.argv[1:])
