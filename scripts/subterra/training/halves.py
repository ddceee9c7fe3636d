"""Training in bf16 on a CPU, where a copy costs as much as a product: what is read in bf16 is written so at once."""

from functools import partial

import torch

# Of what is multiplied: products of sizes that never came before are compiled first. Rows of conversations are each of
# another length, and 4 % of a step went there.
SIZE_STEP = 16
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
        if hasattr(module, "variance_epsilon"):
            module.forward = partial(_norm, module)
        elif type(module).__name__.endswith(READ_BY_PRODUCTS):
            module.register_forward_hook(_halved)


def _halved(_module, _inputs, found):
    if isinstance(found, torch.Tensor):
        return found.to(torch.bfloat16)
    return tuple(one.to(torch.bfloat16) for one in found)


def _norm(module, hidden):
    return _Norm.apply(hidden, module.weight, module.variance_epsilon)


class _Norm(torch.autograd.Function):
    """The root-mean-square norm of Llama's kin, in fewer passes over what it reads."""

    @staticmethod
    def forward(ctx, hidden, weight, epsilon):
        size = torch.linalg.vector_norm(hidden, dim=-1, keepdim=True, dtype=torch.float32)
        scale = size.square_().div_(hidden.shape[-1]).add_(epsilon).rsqrt_()
        unit, weight = (hidden * scale).to(torch.bfloat16), weight.to(torch.bfloat16)
        ctx.save_for_backward(unit, weight, scale)
        return unit * weight

    @staticmethod
    def backward(ctx, gradient):
        unit, weight, scale = ctx.saved_tensors
        along = gradient * unit
        of_weight = along.sum(tuple(range(along.dim() - 1)), dtype=torch.float32)
        along = (along @ weight).unsqueeze(-1).div_(unit.shape[-1])
        return torch.addcmul(gradient * weight, unit, along, value=-1) * scale, of_weight, None
