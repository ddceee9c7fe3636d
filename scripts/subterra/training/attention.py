"""Attention over packed conversations: each attends to itself alone, at the price of itself alone.

transformers passes where each conversation begins to the attention function, as flash attention wants it. Where that
is not installed (CPUs), this one calls torch's causal attention for every conversation: no mask of rows x rows is made.
"""

from itertools import pairwise

import torch
from torch.nn.functional import scaled_dot_product_attention

from subterra.errors import SubterraError

NAME = "packed"
UNKNOWN = ("sliding_window", "softcap", "dropout")


def packed_attention(module, query, key, value, attention_mask, scaling=None, cu_seq_lens_q=None, **settings):
    """Return ((1, tokens, heads, head size), None) for a query of (1, heads, tokens, head size).

    Key and value may have fewer heads. `cu_seq_lens_q` (conversations + 1,) holds where each begins, and the end.

    Raises SubterraError for a base that looks at less than all that was said, or bends its scores.
    """
    if unknown := [name for name in UNKNOWN if settings.get(name)]:
        raise SubterraError(f"the base uses {', '.join(unknown)}, which training on packed rows does not know")
    bounds = [0, query.shape[2]] if cu_seq_lens_q is None else cu_seq_lens_q.tolist()
    sizes = [end - begin for begin, end in pairwise(bounds)]
    query, key = (
        query.to(value.dtype),
        key.to(value.dtype),
    )  # under autocast, turning them by position made them float32
    attend = _in_full if query.is_cpu and query.dtype == torch.bfloat16 else _fused
    parts = [
        attend(q, k, v, scaling) for q, k, v in zip(*(x.split(sizes, dim=2) for x in (query, key, value)), strict=True)
    ]
    return torch.cat(parts, dim=2).transpose(1, 2), None


def _fused(query, key, value, scaling):
    grouped = query.shape[1] != key.shape[1]
    return scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling, enable_gqa=grouped)


def _in_full(query, key, value, scaling):
    """Write the scores out: on CPUs in bf16, torch's fused kernel takes nearly twice as long for a conversation."""
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores = query @ key.transpose(2, 3) * (scaling or query.shape[3] ** -0.5)
    later = torch.ones(scores.shape[2:], dtype=torch.bool).triu(1)
    return scores.masked_fill(later, float("-inf")).softmax(-1, dtype=torch.float32).to(value.dtype) @ value


def register() -> str:
    """Make the function known to transformers and return its name."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, packed_attention)
    AttentionMaskInterface.register(NAME, lambda *_arguments, **_settings: None)
    return NAME
