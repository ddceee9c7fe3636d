"""Conversations as masked, packed tokens.

Only the agent's turns have labels. Conversations are packed into rows of a fixed size, shuffled anew in every epoch, so
that no token is padding.
"""

import itertools
import json
import random
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any

from subterra.dialogue import messages
from subterra.errors import SubterraError
from subterra.training.template import agent_spans

IGNORED = -100
OPEN_ROWS = 16  # rows that still take conversations while packing

Encoded = dict[str, list]


def load_tokenizer(folder: str):
    """Return the tokenizer of a model folder, as the folder has it."""
    from transformers import PreTrainedTokenizerFast

    # AutoTokenizer swaps in another tokenizer by model_type.
    return PreTrainedTokenizerFast.from_pretrained(folder)


def encode(tokenizer, system: str, turns: Sequence[Mapping], value_weight: float = 1.0) -> Encoded:
    """Return {input_ids, labels, weights} of a conversation, each of its length in tokens, and some of their places.

    Labels are IGNORED outside the agent's turns; inside, they cover the words, the call and the token that ends the
    turn. `weights` is what a label counts: `value_weight` where the agent says one of a turn's values or hands it to a
    tool, else 1. `valued` are those places, each with the value's name, `recalled` those among them of values that
    nobody had said, and `begins` the places where the agent's turns have their first label. Raises SubterraError as
    `agent_spans` does.
    """
    talk = messages(system, turns)
    text, spans = agent_spans(tokenizer, talk)
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
    labels, weights, begins = [IGNORED] * len(ids), [1.0] * len(ids), []
    valued: dict[int, str] = {}
    recalled: set[int] = set()
    for place, span in spans:
        turn = turns[place - len(talk)]
        inside = [*within(offsets, [span])]
        begins += inside[:1]
        for token in inside:
            labels[token] = ids[token]
        values = [*turn.get("values", {}).items()]
        if turn.get("call"):
            values += json.loads(turn["call"])["arguments"].items()
        for name, value in values:
            places = [*within(offsets, said(text, span, [value]))]
            valued |= dict.fromkeys(places, name)
            recalled.update(places if value not in text[: span[0]] else ())
    for token in valued:
        weights[token] = value_weight
    found = {"valued": sorted(valued.items()), "recalled": sorted(recalled), "begins": begins}
    return {"input_ids": ids, "labels": labels, "weights": weights, **found}


def said(text: str, span: tuple[int, int], values: Iterable[str]) -> list[tuple[int, int]]:
    """Return where values stand within a span of the text."""
    found = [re.finditer(re.escape(value), text[slice(*span)]) for value in values]
    return [(span[0] + match.start(), span[0] + match.end()) for matches in found for match in matches]


def within(offsets: Sequence[tuple[int, int]], spans: Iterable[tuple[int, int]]) -> Iterator[int]:
    """Yield the tokens that end inside a span; they may begin with the space before it."""
    end_of = itemgetter(1)
    for begin, end in spans:
        yield from range(bisect_right(offsets, begin, key=end_of), bisect_right(offsets, end, key=end_of))


def encode_all(
    tokenizer, system: str, rows: Iterable[Mapping], longest: int, value_weight: float = 1.0
) -> list[Encoded]:
    """Encode conversation rows. Raises SubterraError for one longer than `longest` tokens."""
    found = []
    for row in rows:
        encoded = encode(tokenizer, system, row["turns"], value_weight)
        if len(encoded["input_ids"]) > longest:
            raise SubterraError(
                f"conversation {row['id']} has {len(encoded['input_ids']):,} tokens and the base reads {longest:,}: "
                "take a base with a longer context, or a path rule with shorter paths"
            )
        found.append(encoded)
    return found


def pack(lengths: Sequence[int], size: int, order: Sequence[int]) -> list[list[int]]:
    """Put conversations, by index in the given order, into rows of at most `size` tokens; a longer one has its own.

    >>> pack([3, 9, 5, 2, 4], 8, range(5))
    [[1], [0, 2], [3, 4]]
    """
    rows: list[list[int]] = []
    waiting: list[tuple[int, list[int]]] = []
    for index in order:
        length = lengths[index]
        fitting = [entry for entry in waiting if entry[0] >= length]
        room, row = min(fitting, key=lambda entry: entry[0], default=(size, []))
        if fitting:
            waiting.remove((room, row))
        row.append(index)
        waiting.append((room - length, row))
        full = [entry for entry in waiting if entry[0] <= 0]
        if not full and len(waiting) > OPEN_ROWS:
            full = [min(waiting, key=lambda entry: entry[0])]
        for entry in full:
            waiting.remove(entry)
            rows.append(entry[1])
    return rows + [row for _, row in waiting]


class PackedRows:
    """A dataset of rows for a Trainer: item i is the list of encoded conversations in row i.

    The rows of all epochs follow one another, so that the same step sees the same row in every run, and a run that
    was killed goes on where it was. Where they are fewer than `least`, or no multiple of `several`, the rows of another
    epoch begin, up to that number. `conversations` gives those of an epoch by its number, from 0 on, and the share of
    them that will do: less than 1 where not all of an epoch is read.
    """

    def __init__(
        self,
        conversations: Callable[[int, float], Sequence[Encoded]],
        size: int,
        epochs: int,
        seed: int,
        least: int = 0,
        several: int = 1,
    ):
        self.epochs: list[Sequence[Encoded]] = []
        self.rows: list[tuple[int, list[int]]] = []  # (epoch, conversations of it by index)
        self.seen = 0
        whole = 0  # rows of the first epoch
        for epoch in itertools.count():
            wanted = max(least, -(-len(self.rows) // several) * several)
            left = wanted - len(self.rows)
            if epoch >= epochs and left <= 0:
                break
            share = min(1.0, (left + OPEN_ROWS) / whole) if whole and epoch >= epochs else 1.0
            self.epochs.append(conversations(epoch, share))
            lengths = [len(conversation["input_ids"]) for conversation in self.epochs[epoch]]
            order = list(range(len(lengths)))
            random.Random(f"{seed} {epoch}").shuffle(order)
            packed = pack(lengths, size, order)
            whole = whole or len(packed)
            packed = packed if epoch < epochs else packed[:left]
            self.rows += [(epoch, row) for row in packed]
            self.seen += sum(lengths[number] for row in packed for number in row)
        self.tokens = sum(len(conversation["input_ids"]) for conversation in self.epochs[0])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> list[Encoded]:
        epoch, row = self.rows[index]
        return [self.epochs[epoch][number] for number in row]


def collate(rows: Sequence[Sequence[Encoded]]) -> dict[str, Any]:
    """Lay rows end to end: (1, tokens) ids, labels and positions from 0, and where each conversation begins.

    The model is asked for logits only where the next token has a label: `logits_to_keep` (places,) holds where, and
    `shift_labels` and `weights` (1, places) the labels that follow and what they count. A place with several labels
    (see `openings`) comes once for each.
    """
    import torch
    from transformers import DataCollatorWithFlattening

    flat = [conversation for row in rows for conversation in row]
    batch = DataCollatorWithFlattening(return_flash_attn_kwargs=True)(flat)
    weights = torch.tensor([weight for conversation in flat for weight in conversation["weights"]])
    following = batch["labels"][0, 1:]
    places = (following != IGNORED).nonzero()[:, 0]
    begins = batch["cu_seq_lens_q"].tolist()
    more = [
        (begin + token - 1, label, weight)
        for begin, conversation in zip(begins, flat, strict=False)
        for token, label, weight in conversation.get("openings", ())
    ]
    at, labels, counts = (torch.tensor(column) for column in zip(*more, strict=True)) if more else (places[:0],) * 3
    return {
        **batch,
        "logits_to_keep": torch.cat([places, at]),
        "shift_labels": torch.cat([following[places], labels])[None],
        "weights": torch.cat([weights[1:][places], counts])[None],
    }


def filled(batch: dict[str, Any], step: int) -> dict[str, Any]:
    """Return a batch that `collate` made with as many tokens and labels as a multiple of `step`.

    What is added is a short conversation of its own, whose labels count nothing.
    """
    from torch import arange, cat
    from torch.nn.functional import pad

    tokens = batch["input_ids"].shape[1]
    labels = -len(batch["logits_to_keep"]) % step
    more = labels + -(tokens + labels) % step
    if not more:
        return batch
    bounds = pad(batch["cu_seq_lens_q"], (0, 1), value=tokens + more)
    return {
        **batch,
        "input_ids": pad(batch["input_ids"], (0, more)),
        "labels": pad(batch["labels"], (0, more), value=IGNORED),
        "position_ids": cat([batch["position_ids"][0], arange(more)])[None],
        "cu_seq_lens_q": bounds,
        "cu_seq_lens_k": bounds,
        "logits_to_keep": cat([batch["logits_to_keep"], arange(tokens, tokens + labels)]),
        "shift_labels": pad(batch["shift_labels"], (0, labels)),
        "weights": pad(batch["weights"], (0, labels)),
    }
