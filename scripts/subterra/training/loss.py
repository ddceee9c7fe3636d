"""The loss of the labels of a batch, each by its weight; on a CPU in pieces that stay in a core's cache."""

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from subterra.training.tokens import filled

PIECE = 128  # labels


def weighted_loss(model, batch: Mapping[str, Any], size_step: int = 1) -> torch.Tensor:
    """Return the mean loss (a scalar) of the labels of a batch that `collate` made, each by its weight.

    The model's loss function is `mean_loss`. `size_step`: see `tokens.filled`.
    """
    batch = filled(batch, size_step)
    inputs = {key: value for key, value in batch.items() if key not in ("labels", "shift_labels")}
    return model(**inputs, use_cache=False, labels=batch["shift_labels"]).loss


def mean_loss(logits, labels, _vocabulary=None, *, weights, **_settings) -> torch.Tensor:
    """Return the mean of the labels' losses, each by its weight: logits (1, labels, vocabulary), the rest (1, labels).

    transformers calls it inside the model, where logits are still what the last product gave.
    """
    if logits.is_cpu and torch.is_grad_enabled():
        return _InPieces.apply(logits[0], labels[0], _shares(weights))
    return mean_loss_at_once(logits, labels, weights=weights)


def mean_loss_at_once(logits, labels, _vocabulary=None, *, weights, **_settings) -> torch.Tensor:
    """Return what `mean_loss` does, as GPUs find it."""
    return (cross_entropy(logits[0].float(), labels[0], reduction="none") * _shares(weights)).sum()


def _shares(weights) -> torch.Tensor:
    """Return what each label counts, in float32: DeepSpeed gives a model its inputs in bf16, too rough for shares."""
    weights = weights[0].float()
    return weights / weights.sum()


class _InPieces(torch.autograd.Function):
    """The loss, and the gradient of its logits along with it: nothing of their size is made in float32."""

    @staticmethod
    def forward(ctx, logits, labels, shares):
        ctx.gradient = torch.empty_like(logits)
        losses = []
        whole = (logits, labels[:, None], shares[:, None], ctx.gradient)
        for scores, label, share, gradient in zip(*(one.split(PIECE) for one in whole), strict=True):
            likely = scores.softmax(-1, dtype=torch.float32)
            said = likely.gather(1, label).clamp_(min=torch.finfo(torch.float32).tiny)
            losses.append((said.log_() * share).sum())
            gradient.copy_(likely.mul_(share).scatter_add_(1, label, -share))
        return -torch.stack(losses).sum()

    @staticmethod
    def backward(ctx, scale):
        return ctx.gradient.mul_(scale), None, None  # in place: there is one way back
