"""The conversations of a step in lanes, each computed by a thread of its own, where a CPU does the work.

The operations of a small model are too short to be worth spreading over cores one by one, and what stands between them
is not spread at all. So each core takes its share of the conversations from the first layer to the gradients, as it
does of the matrices when they are updated. The sums are made in one order: a run gives the same every time.
"""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import torch

from subterra.config import LANE_TOKENS
from subterra.training.loss import weighted_loss


def lanes_for(tokens: int, size_step: int = 1) -> "Lanes | None":
    """Return lanes for batches of so many tokens; None where one is all that pays."""
    number = min(torch.get_num_threads(), tokens // LANE_TOKENS)
    return Lanes(number, size_step) if number > 1 else None


class Lanes:
    """Threads that share the cores which torch was given. `size_step`: see `weighted_loss`."""

    def __init__(self, number: int, size_step: int = 1):
        self.number, self.size_step, self.threads = number, size_step, torch.get_num_threads()
        self.pool = ThreadPoolExecutor(number)

    def map(self, work: Callable, items: Iterable) -> list:
        """Return what the work gives for each item, with one lane's cores for each; fewer items share all cores."""
        items = list(items)
        cores = max(1, self.threads // max(1, min(self.number, len(items))))

        def lane(item):
            torch.set_num_threads(cores)
            return work(item)

        try:
            return list(self.pool.map(lane, items))
        finally:
            torch.set_num_threads(self.threads)

    def backward(self, model, batch: Mapping[str, Any], share: float = 1.0) -> torch.Tensor:
        """Add `share` of the gradients of a batch's loss (see weighted_loss) to the model's, and return the loss."""
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        whole = batch["weights"].sum()

        def work(part: Mapping[str, Any]) -> tuple:
            loss = weighted_loss(model, part, self.size_step) * (part["weights"].sum() / whole)
            return loss.detach(), torch.autograd.grad(loss * share, parameters, allow_unused=True)

        found = self.map(work, parts(batch, self.number))
        for number, parameter in enumerate(parameters):
            for _, gradients in found:
                if gradients[number] is not None:
                    parameter.grad = gradients[number] if parameter.grad is None else parameter.grad + gradients[number]
        return torch.stack([loss for loss, _ in found]).sum()


def parts(batch: Mapping[str, Any], number: int) -> list[dict[str, Any]]:
    """Return a batch that `collate` made in at most `number` parts of whole conversations, about as long as each other.

    A part without a label is left out: there is nothing to learn in it.
    """
    bounds = batch["cu_seq_lens_q"].tolist()
    cuts = sorted({min(bounds, key=lambda bound: abs(bound - bounds[-1] * cut / number)) for cut in range(number + 1)})
    return [part for begin, end in pairwise(cuts) if len((part := _part(batch, begin, end))["logits_to_keep"])]


def _part(batch: Mapping[str, Any], begin: int, end: int) -> dict[str, Any]:
    bounds = batch["cu_seq_lens_q"]
    bounds = bounds[(bounds >= begin) & (bounds <= end)] - begin
    places = batch["logits_to_keep"]
    inside = (places >= begin) & (places < end)
    return {
        **{key: value for key, value in batch.items() if key.startswith("max_length")},
        **{key: batch[key][:, begin:end] for key in ("input_ids", "labels", "position_ids")},
        **{key: batch[key][:, inside] for key in ("shift_labels", "weights")},
        "cu_seq_lens_q": bounds,
        "cu_seq_lens_k": bounds,
        "logits_to_keep": places[inside] - begin,
    }
