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
    grouped = query.shape[1] != key.shape[1]
    bounds = [0, query.shape[2]] if cu_seq_lens_q is None else cu_seq_lens_q.tolist()
    sizes = [end - begin for begin, end in pairwise(bounds)]
    parts = [
        scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling, enable_gqa=grouped)
        for q, k, v in zip(*(whole.split(sizes, dim=2) for whole in (query, key, value)), strict=True)
    ]
    return torch.cat(parts, dim=2).transpose(1, 2), None


def register() -> str:
    """Make the function known to transformers and return its name."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, packed_attention)
    AttentionMaskInterface.register(NAME, lambda *_arguments, **_settings: None)
    return NAME
