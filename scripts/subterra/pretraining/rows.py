"""The corpus as encoded conversations: rows to pretrain on, and what fine-tuning rehearses.

Every token has a label, the customer's as well: to know what may be said next is to know what was meant.
"""

from collections.abc import Iterator, Mapping, Sequence

from subterra.dialogue import messages
from subterra.pretraining.corpus import stream
from subterra.training import tokens

SAMPLES_A_ROW = 1_000  # more than a row holds: rows draw from parts of the corpus that do not meet


class CorpusRows:
    """A data set of rows for a Trainer: row i holds the conversations that fit into `size` tokens, always the same."""

    def __init__(self, tokenizer, seed: int, size: int, rows: int, value_weight: float = 1.0):
        self.tokenizer, self.seed, self.size, self.rows = tokenizer, seed, size, rows
        self.value_weight = value_weight

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, index: int) -> list[tokens.Encoded]:
        row, room = [], self.size
        for talk in encoded_talks(self.tokenizer, self.seed, index * SAMPLES_A_ROW, self.size, self.value_weight):
            if len(talk["input_ids"]) > room:
                return row
            row.append(talk)
            room -= len(talk["input_ids"])
        raise AssertionError("the corpus is endless")


def rehearsal(tokenizer, seed: int, longest: int, total: int) -> list[tokens.Encoded]:
    """Return conversations of the corpus of at most `longest` tokens each, `total` tokens in all or a little more."""
    found: list[tokens.Encoded] = []
    talks = encoded_talks(tokenizer, seed, 0, longest)
    while total > 0:
        found.append(next(talks))
        total -= len(found[-1]["input_ids"])
    return found


def encoded_talks(
    tokenizer, seed: int, first: int, longest: int, value_weight: float = 1.0
) -> Iterator[tokens.Encoded]:
    """Yield the corpus from sample `first` on, without what is longer than `longest` tokens.

    A value that the agent says again counts `value_weight`, all else 1.
    """
    for talk in stream(seed, first):
        text = tokenizer.apply_chat_template(messages(talk["system"], talk["turns"]), tokenize=False)
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids, weights = encoded["input_ids"], [1.0] * len(encoded["input_ids"])
        if len(ids) <= longest:
            for place in tokens.within(encoded["offset_mapping"], _said_again(text, talk["turns"])):
                weights[place] = value_weight
            yield {"input_ids": ids, "labels": ids, "weights": weights}


def _said_again(text: str, turns: Sequence[Mapping]) -> Iterator[tuple[int, int]]:
    """Yield where the agent says values again in a rendered conversation."""
    end = 0
    for turn in turns:
        begin = text.index(turn["content"], end)
        end = begin + len(turn["content"])
        if turn["role"] == "assistant":
            yield from tokens.said(text, (begin, end), turn["values"])
