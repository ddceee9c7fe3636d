"""Muon for the matrices, AdamW for the rest, as one optimizer.

A model that starts from random weights learns a procedure in fewer steps with Muon (Jordan et al. 2024), which is made
for hidden matrices alone. Updates are scaled to AdamW's size, so that both share one learning rate; of it, the tables
that are no such matrices may get a share.
"""

import torch

from subterra.errors import SubterraError
from subterra.training.halves import cpu_has_bf16
from subterra.training.lanes import Lanes

BETAS = (0.9, 0.95)
OUTER = ("embed_tokens", "lm_head")  # tables, not maps between hidden states
# Of AdamW beside Muon. Rows of tokens that training never asks for have a hundredth of the others' gradients; at the
# usual 1e-8 they move as far, and what the base could say is forgotten. 1e-5 slows the rare ones that are asked for.
TABLE_EPS = 2e-6
ITERATIONS = 4  # of Muon, a twentieth of a step's time each on a CPU; torch's five gave no better agents


class MuonAdamW(torch.optim.Optimizer):
    """Steps both optimizers. Its parameter groups are theirs, so that a scheduler reaches them."""

    def __init__(self, model: torch.nn.Module, lr: float, weight_decay: float, outer_share: float = 1.0):
        inner, outer = matrices_and_rest(model)
        muon = Muon(inner, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw", ns_steps=ITERATIONS)
        self.parts = [muon]
        if outer:  # LoRA trains matrices alone
            shared = {"betas": BETAS, "weight_decay": 0.0, "fused": True}
            self.parts.append(torch.optim.AdamW(outer, lr=lr * outer_share, eps=TABLE_EPS, **shared))
        super().__init__([*inner, *outer], {"lr": lr})
        self._share_groups()

    def _share_groups(self) -> None:
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    def step(self, closure=None):
        """Take one step with both; returns the closure's loss, None without one."""
        loss = closure() if closure else None
        for part in self.parts:
            part.step()
        return loss

    def state_dict(self) -> dict:
        """Return both states."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state: dict) -> None:
        """Take both states up again."""
        for part, saved in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(saved)
        self._share_groups()


class Muon(torch.optim.Muon):
    """torch's Muon, updating many matrices at once: a core of a CPU its own ones, a GPU all of one shape.

    torch's own goes through them one by one, which spreads each small product over the cores and leaves a GPU waiting
    to be told of the next. On a CPU it iterates in bf16 only where that is multiplied; others take 30 times as long.
    """

    def __init__(self, *arguments, **settings):
        super().__init__(*arguments, **settings)
        self.on_cpu = self.param_groups[0]["params"][0].is_cpu
        self._lanes = Lanes(torch.get_num_threads())
        self._dtype = torch.float32 if self.on_cpu and not cpu_has_bf16() else torch.bfloat16

    def step(self, closure=None):
        """Take one step; returns the closure's loss, None without one."""
        loss = closure() if closure else None
        for group in self.param_groups:
            waiting = [parameter for parameter in group["params"] if parameter.grad is not None]
            if self.on_cpu:
                self._lanes.map(lambda parameter, group=group: self._step([parameter], group), waiting)
                continue
            for shape in {parameter.shape for parameter in waiting}:
                self._step([parameter for parameter in waiting if parameter.shape == shape], group)
        return loss

    @torch.no_grad()
    def _step(self, alike: list[torch.Tensor], group: dict) -> None:
        """Update matrices of one shape."""
        momentum, rate = group["momentum"], group["lr"]
        gradients = [parameter.grad for parameter in alike]
        kept = [self._momentum(parameter) for parameter in alike]
        torch._foreach_lerp_(kept, gradients, 1 - momentum)
        wanted = torch._foreach_lerp(gradients, kept, momentum)
        whole = torch.stack(wanted).to(self._dtype) if len(alike) > 1 else wanted[0].to(self._dtype)
        updates = orthogonal(whole, group["ns_coefficients"], group["ns_steps"], group["eps"]).to(alike[0].dtype)
        updates = list(updates) if len(alike) > 1 else [updates]
        torch._foreach_mul_(alike, 1 - rate * group["weight_decay"])
        size = 0.2 * max(alike[0].shape) ** 0.5  # of AdamW's updates
        torch._foreach_add_(alike, updates, alpha=-size * rate)

    def _momentum(self, parameter: torch.Tensor) -> torch.Tensor:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter.grad)
        return state["momentum_buffer"]


def orthogonal(matrix: torch.Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> torch.Tensor:
    """Return about the nearest matrix with orthogonal rows or columns, by Newton and Schulz's iteration.

    A batch (matrices, rows, columns) gives a batch.
    """
    a, b, c = coefficients
    product = torch.baddbmm if matrix.ndim == 3 else torch.addmm
    tall = matrix.shape[-2] > matrix.shape[-1]
    found = matrix.mT if tall else matrix
    found = found / torch.linalg.matrix_norm(found, keepdim=True).clamp(min=eps)
    for _ in range(steps):
        gram = found @ found.mT
        found = product(found, product(gram, gram, gram, beta=b, alpha=c), found, beta=a)
    return found.mT if tall else found


def matrices_and_rest(model: torch.nn.Module) -> tuple[list, list]:
    """Return the trained matrices between hidden states, and all other trained parameters."""
    inner, outer = [], []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            shape = getattr(parameter, "ds_shape", parameter.shape)  # ZeRO-3 leaves a stub of its own shape
            is_inner = len(shape) == 2 and not any(part in name for part in OUTER)
            (inner if is_inner else outer).append(parameter)
    return inner, outer


def optimizer(
    name: str, model: torch.nn.Module, lr: float, weight_decay: float, outer_share: float = 1.0
) -> torch.optim.Optimizer:
    """Return the optimizer that the config names: `muon`, `adamw` or `adamw_8bit`.

    `outer_share` is what embeddings and norms get of the learning rate. Raises SubterraError where the 8-bit one is
    not installed.
    """
    if name == "muon":
        return MuonAdamW(model, lr, weight_decay, outer_share)
    inner, outer = matrices_and_rest(model)
    groups = [{"params": inner}]
    if outer:
        groups.append({"params": outer, "weight_decay": 0.0, "lr": lr * outer_share})
    if name == "adamw_8bit":
        return _adamw_8bit()(groups, lr=lr, betas=BETAS, weight_decay=weight_decay)
    return torch.optim.AdamW(groups, lr=lr, betas=BETAS, weight_decay=weight_decay, fused=True)


def _adamw_8bit() -> type[torch.optim.Optimizer]:
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError:
        raise SubterraError(
            "training.optimizer: adamw_8bit needs a package that is not here: pip install bitsandbytes"
        ) from None
    return AdamW8bit
