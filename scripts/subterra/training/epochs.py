"""What each epoch reads: the conversations with other unheard values and words left out, and more of the corpus.

What is read a second time is half known by heart; a value that is another one each time can only be repeated.
"""

import random
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from subterra.config import rehearsal_for
from subterra.pretraining.rows import rehearsal
from subterra.training import tokens
from subterra.training.facts import Facts
from subterra.training.openings import Openings
from subterra.training.rare import with_rare_again
from subterra.training.unheard import with_unheard
from subterra.training.word_dropout import with_dropped_words


class Epochs:
    """Epoch by number, from 0 on: encoded conversations, as `PackedRows` asks for them.

    `conversations` are rows (records.CONVERSATION), `values` all values of the variables that may be replaced
    (`with_unheard`), `settings` the config's section `training`. A row has `size` tokens, and the base reads `longest`.
    What is rehearsed comes from the corpus that `base` was pretrained on, and is nothing for another base.
    """

    def __init__(
        self,
        conversations: Sequence[Mapping],
        values: Mapping[str, Collection[str]],
        system: str,
        tokenizer,
        base: str,
        settings: Mapping[str, Any],
        seed: int,
        size: int,
        longest: int,
    ):
        self.conversations = with_rare_again(conversations, settings["rare_edges"])
        self.values, self.system, self.tokenizer = values, system, tokenizer
        self.settings, self.seed, self.size, self.longest = settings, seed, size, longest
        self.rehearsal = rehearsal_for(settings, base)
        self.facts = Facts(settings["fact_weight"])
        self.openings = Openings(settings["opening_smoothing"], settings["opening_favourite"])
        self.plain: dict[str, tokens.Encoded] = {}  # by id: what is read as it is, is encoded once

    def __call__(self, epoch: int, share: float = 1.0) -> list[tokens.Encoded]:
        """Return what an epoch reads: the conversations in their order, some of them again, and what is rehearsed.

        Of the conversations only a `share` is read, drawn by the seed. What the whole teaches (where facts part, how
        steps begin) is learned from the epoch that is asked for first. Raises SubterraError for a conversation that is
        longer than the base reads.
        """
        seed, settings = self.seed + epoch, self.settings
        read = _part(self.conversations, share, seed)
        rows = with_dropped_words(read, settings["word_dropout"], seed)
        rows = with_unheard(rows, self.values, settings["unheard_values"], seed)
        learned = [self._encoded(row, row is plain) for row, plain in zip(rows, read, strict=True)]
        learned = self.openings(rows, self.facts(learned))
        total = round(self.rehearsal * sum(len(one["input_ids"]) for one in learned))
        return learned + rehearsal(self.tokenizer, seed, min(self.size, self.longest), total)

    def _encoded(self, row: Mapping, plain: bool) -> tokens.Encoded:
        if plain and row["id"] in self.plain:
            return self.plain[row["id"]]
        weight = self.settings["value_weight"]
        encoded = tokens.encode_all(self.tokenizer, self.system, [row], self.longest, weight)[0]
        if plain:
            self.plain[row["id"]] = encoded
        return encoded


def _part(rows: Sequence[Mapping], share: float, seed: int) -> Sequence[Mapping]:
    """Return a share of rows in their order, at least one."""
    if share >= 1:
        return rows
    places = random.Random(f"part {seed}").sample(range(len(rows)), max(1, round(share * len(rows))))
    return [rows[place] for place in sorted(places)]
