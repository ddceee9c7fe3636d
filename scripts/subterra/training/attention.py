"""Attention over packed conversations: each attends to itself alone, at the price of itself alone.

transformers passes where each conversation begins to the attention function, as flash attention wants it. Where that
is not installed (CPUs), this one calls torch's causal attention for every conversation: no mask of rows x rows is made.
"""

from functools import lru_cache
from itertools import pairwise

import torch
from torch.nn.functional import scaled_dot_product_attention

from subterra.errors import SubterraError

NAME = "packed"
MASK_STEP = 256  # masks are made for a multiple of so many tokens, and cut


def packed_attention(
    module,
    query,
    key,
    value,
    attention_mask,
    scaling=None,
    cu_seq_lens_q=None,
    sliding_window=None,
    softcap=None,
    dropout=0.0,
    **_settings,
):
    """Return ((1, tokens, heads, head size), None) for a query of (1, heads, tokens, head size).

    Key and value may have fewer heads. `cu_seq_lens_q` (conversations + 1,) holds where each begins, and the end. A
    token sees the `sliding_window` last ones, itself among them; scores are bent to stay below `softcap`.
    Raises SubterraError for a base that drops attention while it is trained.
    """
    if dropout:
        raise SubterraError("the base drops attention at random in training; set attention_dropout in its config to 0")
    bounds = [0, query.shape[2]] if cu_seq_lens_q is None else cu_seq_lens_q.tolist()
    sizes = [end - begin for begin, end in pairwise(bounds)]
    query, key = (
        query.to(value.dtype),
        key.to(value.dtype),
    )  # under autocast, turning them by position made them float32
    slow = query.is_cpu and query.dtype == torch.bfloat16
    parts = []
    for q, k, v in zip(*(x.split(sizes, dim=2) for x in (query, key, value)), strict=True):
        window = sliding_window if sliding_window and sliding_window < q.shape[2] else None
        plain = not (slow or window or softcap)
        parts.append(_fused(q, k, v, scaling) if plain else _in_full(q, k, v, scaling, window, softcap))
    return torch.cat([part.transpose(1, 2) for part in parts], dim=1), None  # as it lies: nothing is copied once more


def _fused(query, key, value, scaling):
    grouped = query.shape[1] != key.shape[1]
    return scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling, enable_gqa=grouped)


def _in_full(query, key, value, scaling, window=None, softcap=None):
    """Write the scores out: on CPUs in bf16, torch's fused kernel takes twice as long for a conversation."""
    groups, tokens = query.shape[1] // key.shape[1], query.shape[2]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    unseen = _unseen(-(-tokens // MASK_STEP) * MASK_STEP, window, query.dtype, query.device)[:tokens, :tokens]
    query, key, scaling = query[0], key[0].transpose(1, 2), scaling or query.shape[3] ** -0.5
    if softcap:
        scores = softcap * torch.tanh(query @ key * (scaling / softcap)) + unseen
    else:
        scores = torch.baddbmm(unseen, query, key, alpha=scaling)
    return scores.softmax(-1)[None] @ value


@lru_cache(maxsize=16)
def _unseen(tokens: int, window: int | None, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Return what is added to scores, (tokens, tokens): 0 where the row's token sees the column's, else -inf."""
    nothing = torch.full((tokens, tokens), float("-inf"), dtype=dtype, device=device)
    return nothing.triu(1) + nothing.tril(-window) if window else nothing.triu(1)


def register() -> str:
    """Make the function known to transformers and return its name."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, packed_attention)
    AttentionMaskInterface.register(NAME, lambda *_arguments, **_settings: None)
    return NAME
