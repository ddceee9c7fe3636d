"""What a base can do, measured on conversations it never saw: copying, following a procedure, hearing a move's turn.

The model reads each conversation once. A value is copied where every one of its tokens is the model's first choice
after the true text before it; the distance is counted from where the value was said last. The next step is known where
the model prefers what the agent said to what it said elsewhere in the same conversation.
"""

import math
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

import torch

from subterra.dialogue import messages
from subterra.pretraining.corpus import sample
from subterra.pretraining.drills import signs
from subterra.text import whole_words
from subterra.training.template import agent_spans
from subterra.training.tokens import within
from subterra.training.trainer import has_bf16

DISTANCES = (0, 64, 128, 256, 512)  # tokens since the value was said last; the last one is open
LENGTHS = (1, 3, 5, 9)  # tokens of the value; likewise
WHOLE_WORD = re.compile(" [a-z]{4,}")  # as a token
CHOICES = 4  # of the next step: the true one and others


def measure(model, tokenizer, seed: int, samples: int) -> dict:
    """Return {bits_per_byte, copied, words, steps, signs} over `samples` conversations of the corpus and sign drills.

    `copied` has a row for each distance and length: {distance, length, right, total}, both the least of its bin.
    `words` is {right, total}: of conversations with a word of one token in the place of a value, another word each.
    `steps` is {right, total}, a step a dialogue: of four things that the agent said there, which comes next?
    `signs` is {right, total}: the system prompt says which sign answers which wish, in a procedure made up for it.
    The seed must not be the one that was trained on.
    """
    model.eval()
    bits = size = 0.0
    copied: dict[tuple[int, int], list[bool]] = defaultdict(list)
    steps: list[bool] = []
    for index in range(samples):
        talk = sample(seed, index)
        steps += _step(model, tokenizer, random.Random(f"{seed} step {index}"), talk)
        reading = Reading(model, tokenizer, talk["system"], talk["turns"])
        bits, size = bits + reading.bits, size + len(reading.text.encode())
        for distance, length, right in reading.copies():
            copied[_bin(DISTANCES, distance), _bin(LENGTHS, length)].append(right)
    heard = list(_signs(model, tokenizer, seed, samples))
    rows = [
        {"distance": distance, "length": length, "right": sum(found), "total": len(found)}
        for (distance, length), found in sorted(copied.items())
    ]
    return {
        "bits_per_byte": bits / size,
        "copied": rows,
        "words": _counted(list(_words(model, tokenizer, seed, samples))),
        "steps": _counted(steps),
        "signs": _counted(heard),
    }


class Reading:
    """A conversation as the model reads it: which tokens it would have said itself, and what the others cost."""

    def __init__(self, model, tokenizer, system: str, turns: Sequence[Mapping]):
        talk = messages(system, turns)
        self.text, spans = agent_spans(tokenizer, talk)
        self.spans = [(turns[place - len(talk)], span) for place, span in spans]
        encoded = tokenizer(self.text, add_special_tokens=False, return_offsets_mapping=True)
        self.offsets = encoded["offset_mapping"]
        ids = torch.tensor(encoded["input_ids"])
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=has_bf16()):
            logits = model(input_ids=ids[None]).logits[0, :-1].float()
        self.right = [False, *(logits.argmax(-1) == ids[1:]).tolist()]
        self.losses = torch.nn.functional.cross_entropy(logits, ids[1:], reduction="none")
        self.bits = self.losses.sum().item() / math.log(2)

    def last_loss(self) -> float:
        """Return what a token of the last turn costs, in nats."""
        _, span = self.spans[-1]
        return self.losses[[token - 1 for token in within(self.offsets, [span])]].mean().item()

    def copies(self) -> Iterator[tuple[int, int, bool]]:
        """Yield (distance, length, right) of each value that the agent says again."""
        for turn, (begin, end) in self.spans:
            for value in turn["values"]:
                places = [found.span() for found in whole_words([value]).finditer(self.text[:end])]
                for last, place in pairwise(places):
                    if place[0] >= begin:
                        said, again = (list(within(self.offsets, [span])) for span in (last, place))
                        yield again[0] - said[0], len(again), all(self.right[token] for token in again)


def _step(model, tokenizer, rng: random.Random, talk: Mapping) -> list[bool]:
    """Return whether the model knows one step of a dialogue; nothing of what has too few steps to choose from."""
    turns = talk["turns"]
    said = list(dict.fromkeys(turn["content"] for turn in turns if turn["role"] == "assistant"))
    places = [place for place, turn in enumerate(turns) if place and turn["role"] == "assistant"]
    if talk["kind"] == "drill" or len(said) < CHOICES or not places:
        return []
    place = rng.choice(places)
    true = turns[place]["content"]
    others = rng.sample([content for content in said if content != true], CHOICES - 1)
    losses = [
        Reading(model, tokenizer, talk["system"], [*turns[:place], turns[place] | {"content": content}]).last_loss()
        for content in (true, *others)
    ]
    return [min(losses) == losses[0]]


def _words(model, tokenizer, seed: int, samples: int) -> Iterator[bool]:
    """Yield for words that are one token whether the model says them again where the agent has said a value again.

    A word with a token of its own is the hardest to copy: what the model knows of it speaks for its neighbours.
    """
    vocabulary = [tokenizer.decode([token]) for token in range(len(tokenizer))]
    words = [text.strip() for text in vocabulary if WHOLE_WORD.fullmatch(text)]
    random.Random(f"{seed} words").shuffle(words)
    for talk in (sample(seed, index) for index in range(samples)):
        turns = talk["turns"]
        value = next((value for turn in turns if turn["role"] == "assistant" for value in turn["values"]), None)
        text = " ".join([talk["system"], *(turn["content"] for turn in turns)])
        word = next((word for word in words if word not in text), None)
        if value and word:
            words.remove(word)
            told = [
                turn | {"content": turn["content"].replace(value, word), "values": [word] * (value in turn["values"])}
                for turn in turns
            ]
            reading = Reading(model, tokenizer, talk["system"].replace(value, word), told)
            yield from (right for *_, right in reading.copies())


def _signs(model, tokenizer, seed: int, samples: int) -> Iterator[bool]:
    """Yield for each turn of the agent whether the model would have said it, word for word."""
    for index in range(samples):
        drill = signs(random.Random(f"{seed} signs {index}"))
        reading = Reading(model, tokenizer, drill["system"], drill["turns"])
        for _, span in reading.spans:
            yield all(reading.right[token] for token in within(reading.offsets, [span]))


def share(rows: Iterable[Mapping]) -> float:
    """Return right / total over rows; 0 where there is none."""
    rows = list(rows)
    return sum(row["right"] for row in rows) / max(1, sum(row["total"] for row in rows))


def _counted(found: Sequence[bool]) -> dict[str, int]:
    return {"right": sum(found), "total": len(found)}


def _bin(least: Sequence[int], number: int) -> int:
    return max(bound for bound in least if bound <= max(number, least[0]))
