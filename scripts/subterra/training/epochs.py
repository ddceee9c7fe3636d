"""What each epoch reads: the conversations with other unheard values and words left out, and more of the corpus.

What is read a second time is half known by heart; a value that is another one each time can only be repeated.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from subterra.config import rehearsal_for
from subterra.pretraining.rows import rehearsal
from subterra.training import tokens
from subterra.training.facts import with_weighed_facts
from subterra.training.openings import with_openings
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
        self.plain: dict[int, tokens.Encoded] = {}  # by place: what is read as it is, is encoded once

    def __call__(self, epoch: int) -> list[tokens.Encoded]:
        """Return what an epoch reads: the conversations in their order, some of them again, and what is rehearsed.

        Raises SubterraError for a conversation that is longer than the base reads.
        """
        seed = self.seed + epoch
        settings = self.settings
        rows = with_dropped_words(self.conversations, settings["word_dropout"], seed)
        rows = with_unheard(rows, self.values, settings["unheard_values"], seed)
        learned = [self._encoded(place, row) for place, row in enumerate(rows)]
        learned = with_weighed_facts(learned, settings["fact_weight"])
        learned = with_openings(rows, learned, settings["opening_smoothing"], settings["opening_favourite"])
        total = round(self.rehearsal * sum(len(one["input_ids"]) for one in learned))
        return learned + rehearsal(self.tokenizer, seed, min(self.size, self.longest), total)

    def _encoded(self, place: int, row: Mapping) -> tokens.Encoded:
        if row is self.conversations[place] and place in self.plain:
            return self.plain[place]
        weight = self.settings["value_weight"]
        encoded = tokens.encode_all(self.tokenizer, self.system, [row], self.longest, weight)[0]
        if row is self.conversations[place]:
            self.plain[place] = encoded
        return encoded
