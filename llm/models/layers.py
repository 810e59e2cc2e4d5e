"""The parts that both networks are built of. Where it pays they use the kernels of kernels.py, else torch's own."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llm.models.kernel_choice import own_kernels
from llm.models.kernels import Dropout, GeluLinear, LinearFunction, Rotation, ScaledNorm, project, reorder

ROPE_BASE = 10_000.0  # Su et al. 2021, section 3.3
NORM_EPS = 1e-5
MLP_MULTIPLE = 32  # a gated MLP's width is rounded up to this


class Linear(nn.Linear):
    """x W^T + b, the values and gradients of torch's own layer."""

    reordered: Tensor | None = None  # the weight as it is read fastest, while it does not change

    def forward(self, x: Tensor) -> Tensor:
        """(..., out) from (..., in)."""
        if not torch.is_grad_enabled():
            return project(x, self.weight if self.reordered is None else self.reordered, self.bias)
        if not own_kernels(x).linear:
            return F.linear(x, self.weight, self.bias)
        y: Tensor = LinearFunction.apply(x.flatten(0, -2), self.weight, self.bias)  # type: ignore[no-untyped-call]
        return y.view(*x.shape[:-1], -1)


@contextmanager
def reordered_weights(model: nn.Module) -> Iterator[None]:
    """Let the model's linear layers use reordered copies of their weights meanwhile, outside of autograd."""
    layers = [layer for layer in model.modules() if isinstance(layer, Linear)]
    try:
        for layer in layers:
            layer.reordered = reorder(layer.weight)
        yield
    finally:
        for layer in layers:
            layer.reordered = None


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """x with a share p of its elements set to 0 and the others scaled to keep the mean; x itself outside training.

    Srivastava et al. 2014.
    """
    if not training or p == 0.0:
        return x
    if not own_kernels(x).dropout:
        return F.dropout(x, p)
    return Dropout.apply(x, p)  # type: ignore[no-untyped-call]


def gelu_linear(x: Tensor, linear: Linear) -> Tensor:
    """The layer applied to GELU(x), tanh form (Hendrycks & Gimpel 2016): (B, T, out) from (B, T, in)."""
    if not own_kernels(x).gelu_linear or not torch.is_grad_enabled():
        return linear(F.gelu(x, approximate="tanh"))
    y: Tensor = GeluLinear.apply(x.flatten(0, 1), linear.weight, linear.bias)  # type: ignore[no-untyped-call]
    return y.view(*x.shape[:2], -1)


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps), scaled (Zhang & Sennrich 2019)."""

    def __init__(self, n_embd: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n_embd))

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) from (..., C)."""
        if not own_kernels(x).norm:
            # A GPU's products may give bf16, of which the squares are summed in the type of the weights.
            return F.rms_norm(x.to(self.weight.dtype), (x.size(-1),), self.weight, NORM_EPS).to(x.dtype)
        return ScaledNorm.apply(x, self.weight, NORM_EPS)  # type: ignore[no-untyped-call]


def mlp_width(n_embd: int) -> int:
    """Width of the gated MLP: 8/3 of the model's, so that three matrices weigh what GPT-2's two do (Shazeer 2020)."""
    return MLP_MULTIPLE * math.ceil(8 * n_embd / 3 / MLP_MULTIPLE)


def rotation_table(length: int, head_dim: int) -> Tensor:
    """Cosines and sines (2, length, head_dim / 2) of the rotary positions."""
    rates = ROPE_BASE ** (-torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    angles = torch.outer(torch.arange(length, dtype=torch.float32), rates)
    return torch.stack([angles.cos(), angles.sin()])


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Queries or keys (B, n_head, T, head_dim), each pair of components turned by its position's angle."""
    if own_kernels(x).rotation:
        return Rotation.apply(x, cos, sin)  # type: ignore[no-untyped-call]
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1).to(x.dtype)


def init_weights(model: nn.Module, n_layer: int, generator: torch.Generator | None) -> None:
    """Draw weights as GPT-2 does: normal with deviation 0.02; biases 0.

    The last matrix of each residual branch, called `proj`, is smaller by sqrt(2 n_layer).
    """
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2:
            std = 0.02 / math.sqrt(2 * n_layer) if name.endswith("proj.weight") else 0.02
            nn.init.normal_(parameter, std=std, generator=generator)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
