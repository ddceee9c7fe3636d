"""A fresh Llama that already copies: an induction head, built instead of waited for.

Two heads make it (Olsson et al. 2022, "In-context Learning and Induction Heads"). The first one, in layer 0, always
looks at the token before and notes beside each token which one that was. The second one, in layer 1, looks for the
place whose note is the token at hand, and says what stands there: what followed last time will follow again. The
embedded base had not found this pair by itself after 1.5 million tokens; so it begins with it, and learns the rest.

What they say to each other lies in directions drawn at random, a head wide each, so that nothing else is disturbed.
"""

import math

import torch

CONSTANT = 2.0  # what every token has in its first direction: the first head needs nothing else to find its place
SHARPNESS = 6.0  # by how much the token before is preferred to the one before that, as a logit
MATCH = 16.0  # by how much a place whose note fits is preferred, as a logit
NOTE, SAID = 0.4, 0.6  # how loud the two heads write
FAST = 8  # rotary frequencies, from the fastest on, by which the token before is found
REACH = 400  # tokens over which a rotary frequency must turn by less than a radian to compare two tokens
NOISE = 0.02


@torch.no_grad()
def install(model, std: float) -> None:
    """Draw a Llama's embeddings anew with `std`, and put the two heads into layers 0 and 1.

    The output embedding is drawn so that it understands what the second head says. All else stays as it was drawn.
    """
    config, (first, second) = model.config, [layer.self_attn for layer in model.model.layers[:2]]
    width, size = config.hidden_size, config.head_dim
    head = slice(0, size)
    tokens = model.model.embed_tokens.weight
    tokens.normal_(0, std)
    tokens[:, 0] = CONSTANT
    turns = config.rope_parameters["rope_theta"] ** (-torch.arange(size // 2) / (size // 2))

    # Both heads see a token after its norm: this loud at first, and this loud with the first head's note.
    before = math.sqrt(std**2 + CONSTANT**2 / width)
    note = NOTE * std / before * math.sqrt(size)
    after = math.sqrt(std**2 + (CONSTANT**2 + note**2) / width)

    one_back = SHARPNESS * math.sqrt(size) / (1 - torch.cos(turns[:FAST])).sum()
    loud = math.sqrt(one_back) * before / CONSTANT
    first.q_proj.weight[head] = first.k_proj.weight[head] = 0
    first.q_proj.weight[:FAST, 0] = loud
    first.k_proj.weight[:FAST, 0] = loud * torch.cos(turns[:FAST])
    first.k_proj.weight[size // 2 : size // 2 + FAST, 0] = loud * torch.sin(turns[:FAST])
    what, noted = _directions(size, width), _directions(size, width)
    first.v_proj.weight[head] = what
    first.o_proj.weight[:, head] = NOTE * noted.T

    slow = (turns < 1 / REACH).nonzero()[:, 0]
    slow = torch.cat([slow, slow + size // 2])
    fitting = NOTE * std**2 * len(slow) / (before * after**2 * math.sqrt(size))
    loud = math.sqrt(MATCH / fitting)
    second.q_proj.weight[head] = second.k_proj.weight[head] = 0
    second.q_proj.weight[slow] = loud * what[: len(slow)]
    second.k_proj.weight[slow] = loud * noted[: len(slow)]
    what, said = _directions(size, width), _directions(size, width)
    second.v_proj.weight[head] = what
    second.o_proj.weight[:, head] = SAID * said.T
    model.lm_head.weight.copy_(tokens @ what.T @ said + NOISE * torch.randn_like(tokens))


def _directions(count: int, width: int) -> torch.Tensor:
    """Return `count` orthonormal rows that leave out the constant."""
    rows = torch.linalg.qr(torch.randn(width, count))[0].T.contiguous()
    rows[:, 0] = 0
    return rows
