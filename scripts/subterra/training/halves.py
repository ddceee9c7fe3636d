"""Training in bf16 on a CPU, where a copy costs as much as a product: what is read in bf16 is written so at once."""

import torch

READ_BY_PRODUCTS = ("Norm", "RotaryEmbedding")  # how classes of transformers end


def cpu_has_bf16() -> bool:
    """Say whether the CPU multiplies bf16 itself."""
    return torch.cpu._is_avx512_bf16_supported()


def write_halves(model: torch.nn.Module) -> None:
    """Let norms and the tables that turn queries and keys give bf16.

    Autocast leaves both in float32: then each matrix that reads a norm makes a copy in bf16 of its own, and queries and
    keys are turned in float32 and rounded after it. What layers add up stays in float32.
    """
    for module in model.modules():
        if type(module).__name__.endswith(READ_BY_PRODUCTS):
            module.register_forward_hook(_halved)


def _halved(_module, _inputs, found):
    if isinstance(found, torch.Tensor):
        return found.to(torch.bfloat16)
    return tuple(one.to(torch.bfloat16) for one in found)
