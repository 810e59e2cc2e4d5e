"""Optimizers and learning-rate schedules."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from llm.machine import products_type
from llm.training.distributed import placed_like

# Quintic Newton-Schulz coefficients of Jordan et al. 2024, "Muon": steepest at 0 among those that converge to about 1.
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5
TINY = 1e-8  # keeps a matrix of zeros from being divided by 0


def cosine_factor(step: int, warmup: int, total: int, final: float) -> float:
    """Share of the peak rate at 0-based `step`: linear up to 1, then half a cosine down to `final` at the last step.

    >>> [round(cosine_factor(s, 2, 6, 0.0), 2) for s in range(6)]
    [0.5, 1.0, 0.85, 0.5, 0.15, 0.0]
    """
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step + 1 - warmup) / max(1, total - warmup))
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))


def stable_factor(step: int, warmup: int, total: int, final: float, decay: int) -> float:
    """Share of the peak rate at 0-based `step`: linear up to 1, flat, linear down to `final` over the last `decay`.

    Warm-up-stable-decay (Hu et al. 2024, MiniCPM, section 4).
    """
    if step < warmup:
        return (step + 1) / warmup
    left = total - (step + 1)
    return final + (1 - final) * min(1.0, max(0, left) / max(1, decay))


def newton_schulz_type(device: torch.device) -> torch.dtype:
    """bf16 on a GPU that computes in it, which is exact enough (Jordan et al. 2024), else fp32: faster on a CPU."""
    products = products_type(device)
    return products if products is torch.bfloat16 else torch.float32


def orthogonalize(matrices: Tensor) -> Tensor:
    """Matrices (n, rows, columns) with their singular values moved to 0.7-1.2 (Jordan et al. 2024).

    In the device's `newton_schulz_type`, whatever they came in.
    """
    a, b, c = NEWTON_SCHULZ
    tall = matrices.size(1) > matrices.size(2)
    x = matrices.mT if tall else matrices
    x = (x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)).to(newton_schulz_type(x.device))
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


class Part(NamedTuple):
    """One matrix of a parameter, its momentum's step and what NorMuon remembers of its rows."""

    weight: Tensor  # (rows, columns)
    step: Tensor  # (rows, columns)
    row_squares: Tensor  # (rows, 1)


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised, for the matrices inside the blocks (Jordan et al. 2024).

    A rate means the same as AdamW's: the update's root mean square is 0.2 (Liu et al. 2025, section 2.2). A parameter
    of several stacked matrices (query, key, value) is split by its attribute `n_stacked`. torch.optim.Muon does
    neither and works in bf16 everywhere.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, momentum: float, weight_decay: float) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    def directions(self, parts: Sequence[Part]) -> Tensor:
        """Updates (n, rows, columns) of matrices of one shape."""
        return orthogonalize(torch.stack([part.step for part in parts]))

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update all parameters that have a gradient."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Part]] = {}
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                    state["row_squares"] = parameter.new_zeros(len(parameter), 1)
                momentum = state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                nesterov = parameter.grad.lerp(momentum, group["momentum"])
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                cut = (t.chunk(getattr(parameter, "n_stacked", 1)) for t in (parameter, nesterov, state["row_squares"]))
                for part in map(Part, *cut):
                    by_shape.setdefault(part.weight.shape, []).append(part)
            for shape, parts in by_shape.items():
                rate = group["lr"] * 0.2 * math.sqrt(max(shape))
                for part, direction in zip(parts, self.directions(parts), strict=True):
                    part.weight.add_(direction, alpha=-rate)


class NorMuon(Muon):
    """Muon whose updates have rows of about one size (Li et al. 2025): no unit learns faster than its neighbours.

    A row is divided by the root of its mean square, of which `row_memory` is the memory; then each matrix is made as
    large as it was.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float, momentum: float, weight_decay: float, row_memory: float
    ) -> None:
        super().__init__(parameters, lr, momentum, weight_decay)
        self.row_memory = row_memory

    def directions(self, parts: Sequence[Part]) -> Tensor:
        """Updates (n, rows, columns) of matrices of one shape; notes the size of their rows."""
        updates = super().directions(parts).float()
        for part, squares in zip(parts, updates.square().mean(2, keepdim=True), strict=True):
            part.row_squares.lerp_(squares, 1 - self.row_memory)
        equal = updates / (torch.stack([part.row_squares for part in parts]).sqrt() + TINY)
        return equal * (updates.norm(dim=(1, 2), keepdim=True) / (equal.norm(dim=(1, 2), keepdim=True) + TINY))


def split_parameters(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]]:
    """Trainable parameters as (hidden matrices, embeddings, vectors); a LoRA factor is a hidden matrix."""
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    trained = [p for p in model.parameters() if p.requires_grad]
    matrices = [p for p in trained if p.dim() >= 2 and id(p) not in embeddings]
    tables = [p for p in trained if p.dim() >= 2 and id(p) in embeddings]
    return matrices, tables, [p for p in trained if p.dim() < 2]


def adamw(model: nn.Module, lr: float, betas: tuple[float, float], weight_decay: float) -> list[torch.optim.Optimizer]:
    """AdamW (Loshchilov & Hutter 2019) over all trainable parameters, weight decay on matrices only."""
    matrices, tables, vectors = split_parameters(model)
    groups = [{"params": matrices + tables, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    return [torch.optim.AdamW(groups, lr=lr, betas=betas, fused=True)]


def muon(
    model: nn.Module, lr: float, momentum: float, betas: tuple[float, float], weight_decay: float, *, equal_rows: bool
) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, NorMuon if their rows shall be equal; AdamW for embeddings and vectors.

    All at the same rate.
    """
    matrices, tables, vectors = split_parameters(model)
    groups = [{"params": tables, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return [
        NorMuon(matrices, lr, momentum, weight_decay, betas[1])
        if equal_rows
        else Muon(matrices, lr, momentum, weight_decay),
        torch.optim.AdamW(groups, lr=lr, betas=betas, fused=True),
    ]


def optimizer_tensors(optimizers: Sequence[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """The optimizers' states by name, `optimizer0.3.momentum` for the fourth parameter of the first."""
    return {
        f"optimizer{i}.{index}.{name}": value
        for i, optimizer in enumerate(optimizers)
        for index, entries in optimizer.state_dict()["state"].items()
        for name, value in entries.items()
    }


def load_optimizers(optimizers: Sequence[torch.optim.Optimizer], tensors: Mapping[str, Tensor]) -> None:
    """Set the optimizers' states to those that `optimizer_tensors` gave."""
    for i, optimizer in enumerate(optimizers):
        prefix, entries = f"optimizer{i}.", dict[int, dict[str, Tensor]]()
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        for key, value in tensors.items():
            if key.startswith(prefix):
                index, name = key.removeprefix(prefix).split(".")
                entries.setdefault(int(index), {})[name] = placed_like(value, parameters[int(index)])
        optimizer.load_state_dict({"state": entries, "param_groups": optimizer.state_dict()["param_groups"]})
