"""Attention over packed conversations: each attends to itself alone, at the price of itself alone.

transformers passes where each conversation begins to the attention function, as flash attention wants it. On a GPU
this one hands that to torch's flash attention; a CPU calls torch's causal attention for every conversation: no mask of
rows x rows is made. For bf16 on a CPU, whose fused kernel takes twice as long, scores are written out block by block.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise

import torch
from torch.nn.functional import pad, scaled_dot_product_attention

from subterra.errors import SubterraError

NAME = "packed"
HALVES = (torch.bfloat16, torch.float16)
MASK_STEP = 256  # masks are made for a multiple of so many tokens, and cut
SIZE_STEP = 64  # of a block: a product of sizes that never came before is compiled first
BLOCK = 3 * SIZE_STEP  # queries: each block sees the keys before its end alone


def packed_attention(
    module,
    query,
    key,
    value,
    attention_mask,
    scaling=None,
    cu_seq_lens_q=None,
    max_length_q=None,
    sliding_window=None,
    softcap=None,
    dropout=0.0,
    **_settings,
):
    """Return ((1, tokens, heads, head size), None) for a query of (1, heads, tokens, head size).

    Key and value may have fewer heads. `cu_seq_lens_q` (conversations + 1,) holds where each begins, and the end;
    `max_length_q` is the length of the longest. A token sees the `sliding_window` last ones, itself among them; scores
    are bent to stay below `softcap`.
    Raises SubterraError for a base that drops attention while it is trained.
    """
    if dropout:
        raise SubterraError("the base drops attention at random in training; set attention_dropout in its config to 0")
    query, key = (
        query.to(value.dtype),
        key.to(value.dtype),
    )  # under autocast, turning them by position made them float32
    if value.is_cuda and value.dtype in HALVES and cu_seq_lens_q is not None and not softcap:
        return _by_flash(query, key, value, scaling, cu_seq_lens_q, max_length_q, sliding_window), None
    bounds = [0, query.shape[2]] if cu_seq_lens_q is None else cu_seq_lens_q.tolist()
    sizes = [end - begin for begin, end in pairwise(bounds)]
    narrow = sliding_window and sliding_window < max(sizes)
    if _blocks_are_faster(query) and not (narrow or softcap):
        return _in_blocks(query, key, value, scaling, bounds), None
    parts = []
    for q, k, v in zip(*(x.split(sizes, dim=2) for x in (query, key, value)), strict=True):
        window = sliding_window if sliding_window and sliding_window < q.shape[2] else None
        written_out = window or softcap
        parts.append(_in_full(q, k, v, scaling, window, softcap) if written_out else _fused(q, k, v, scaling))
    return torch.cat([part.transpose(1, 2) for part in parts], dim=1), None  # as it lies: nothing is copied once more


def _blocks_are_faster(query) -> bool:
    return query.is_cpu and query.dtype == torch.bfloat16


def _by_flash(query, key, value, scaling, bounds, longest, window):
    """Attend within all conversations in one call; the host never waits to learn where they begin."""
    from torch.nn.attention.varlen import varlen_attn

    key, value = _for_each(query, key), _for_each(query, value)
    query, key, value = (one[0].transpose(0, 1) for one in (query, key, value))
    reach = (window - 1 if window else -1, 0)
    return varlen_attn(query, key, value, bounds, bounds, longest, longest, scale=scaling, window_size=reach)[None]


def _fused(query, key, value, scaling):
    grouped = query.shape[1] != key.shape[1]
    return scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling, enable_gqa=grouped)


def _in_full(query, key, value, scaling, window=None, softcap=None):
    """Write the scores out, for a window or bent scores."""
    key, value, tokens = _for_each(query, key), _for_each(query, value), query.shape[2]
    unseen = _unseen(_up(tokens, MASK_STEP), window, query.dtype, query.device)[:tokens, :tokens]
    query, key, scaling = query[0], key[0].transpose(1, 2), scaling or query.shape[3] ** -0.5
    if softcap:
        scores = softcap * torch.tanh(query @ key * (scaling / softcap)) + unseen
    else:
        scores = torch.baddbmm(unseen, query, key, alpha=scaling)
    return scores.softmax(-1)[None] @ value


def _in_blocks(query, key, value, scaling, bounds):
    key, value = _for_each(query, key), _for_each(query, value)
    return _Blocks.apply(query[0], key[0], value[0], scaling or query.shape[3] ** -0.5, bounds)[None]


def _for_each(query, key):
    groups = query.shape[1] // key.shape[1]
    return key.repeat_interleave(groups, 1) if groups > 1 else key


class _Blocks(torch.autograd.Function):
    """Causal attention of each conversation, by blocks of queries; the way back reads the shares that were found."""

    @staticmethod
    def forward(ctx, query, key, value, scaling, bounds):
        """Return (tokens, heads, head size) for three of (heads, tokens, head size); `bounds` as `cu_seq_lens_q`."""
        ctx.save_for_backward(query, key, value)
        ctx.scaling, ctx.blocks, ctx.shares = scaling, list(_blocks(bounds)), []
        found = torch.empty_like(query).transpose(0, 1)
        unseen = _unseen(_up(max(size for _, _, size in ctx.blocks), MASK_STEP), None, query.dtype, query.device)
        for rows, seen, size in ctx.blocks:
            asked, keys = _full(query[:, rows]), key[:, seen].transpose(1, 2)
            mask = unseen[size - asked.shape[1] : size, : keys.shape[2]]
            shares = torch.baddbmm(mask, asked, keys, alpha=scaling).softmax(-1)
            found[rows] = (shares @ value[:, seen])[:, : rows.stop - rows.start].transpose(0, 1)
            ctx.shares.append(shares)
        return found

    @staticmethod
    def backward(ctx, gradient):
        query, key, value = ctx.saved_tensors
        gradient = gradient.transpose(0, 1)
        of_query, of_key, of_value = (torch.zeros_like(one) for one in (query, key, value))
        for (rows, seen, _), shares in zip(ctx.blocks, ctx.shares, strict=True):
            asked, wanted = _full(query[:, rows]), _full(gradient[:, rows])
            change = torch._softmax_backward_data(wanted @ value[:, seen].transpose(1, 2), shares, -1, shares.dtype)
            of_query[:, rows] = (change @ key[:, seen])[:, : rows.stop - rows.start]
            of_key[:, seen] += change.transpose(1, 2) @ asked
            of_value[:, seen] += shares.transpose(1, 2) @ wanted
        return of_query.mul_(ctx.scaling), of_key.mul_(ctx.scaling), of_value, None, None


def _blocks(bounds: Sequence[int]) -> Iterator[tuple[slice, slice, int]]:
    """Yield (queries, the keys they see, how many those are): a multiple of SIZE_STEP, cut where the row ends."""
    for begin, end in pairwise(bounds):
        for first in range(begin, end, BLOCK):
            last = min(first + BLOCK, end)
            size = _up(last - begin, SIZE_STEP)
            yield slice(first, last), slice(begin, begin + size), size


def _full(block):
    """Return a block with as many rows as a multiple of SIZE_STEP; those that are added are zero."""
    missing = -block.shape[-2] % SIZE_STEP
    return pad(block, (0, 0, 0, missing)) if missing else block


def _up(number: int, step: int) -> int:
    return -(-number // step) * step


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
