"""Dropout (Srivastava et al. 2014) whose masks cost a fifth of torch's on a CPU.

torch draws a 32-bit number for every element there, in one thread. Here an element takes 16 bits of torch's own
generator, so that its saved state still continues a run bit for bit, and no mask depends on the number of threads.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from llm.machine import own_kernels

LEVELS = 1 << 16  # p is rounded to a multiple of 1 / LEVELS: 0.1 to 0.100006


def keep_share(p: float) -> float:
    """Share that is kept in expectation: 1 - p, rounded to what 16 bits can tell.  keep_share(0.5) == 0.5"""
    return 1.0 - round(p * LEVELS) / LEVELS


def keep_mask(n: int, p: float) -> Tensor:
    """n bytes on the CPU, each 1 with probability `keep_share(p)`, else 0; p is below 1."""
    bits = torch.empty(math.ceil(n / 4), dtype=torch.int64).random_(-(2**63), None)
    numbers = bits.view(torch.int16)[:n]  # uniform over -LEVELS / 2, ..., LEVELS / 2 - 1
    return numbers.ge_(round(p * LEVELS) - LEVELS // 2).to(torch.uint8)


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """x with a share p of its elements set to 0 and the others scaled to keep the mean; x itself outside training."""
    if not training or p == 0.0:
        return x
    if not own_kernels(x):
        return F.dropout(x, p)
    return _Dropout.apply(x, p)  # type: ignore[no-untyped-call]


class _Dropout(torch.autograd.Function):
    """The mask is kept for the backward pass, a byte an element."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        """The masked and scaled x."""
        mask = keep_mask(x.numel(), p).view(x.shape)
        ctx.save_for_backward(mask)
        ctx.scale = 1.0 / keep_share(p)
        return (x * mask).mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """The gradient through the same mask."""
        (mask,) = ctx.saved_tensors
        return (grad * mask).mul_(ctx.scale), None
