"""Linear layers as a CPU likes them: the bias added inside the product, the faster gradient, weights packed to read."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llm.machine import onednn_is_faster, own_kernels

PACKED_FOR = 32  # rows


class Linear(nn.Linear):
    """x W^T + b, the values and gradients of torch's own layer."""

    packed: Tensor | None = None  # the weight as `pack` lays it out, while it does not change

    def forward(self, x: Tensor) -> Tensor:
        """(..., out) from (..., in)."""
        if not torch.is_grad_enabled():
            return project(x, self.weight if self.packed is None else self.packed, self.bias)
        if not own_kernels(x):
            return project(x, self.weight, self.bias)
        y: Tensor = _Linear.apply(x.flatten(0, -2), self.weight, self.bias)  # type: ignore[no-untyped-call]
        return y.view(*x.shape[:-1], -1)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """(N, out) from (N, in)."""
        ctx.save_for_backward(x, weight)
        ctx.biased = bias is not None
        return project(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Gradients of x, weight and bias."""
        x, weight = ctx.saved_tensors
        return grad @ weight, weight_gradient(grad, x), grad.sum(0) if ctx.biased else None


def project(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x W^T + b, (..., out); the weight may be a packed one. On a CPU it has no gradient.

    oneDNN's own layer instead of torch's `addmm`, which first copies the bias into every row of the result: 7.2 for 8.8
    ms where 8,192 rows go from 256 to 768 values. One row, whose weights come from memory, takes half of MKL's time.
    """
    if weight.is_mkldnn or _by_onednn(x):
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
        return y
    return F.linear(x, weight, bias)


def _by_onednn(x: Tensor) -> bool:
    return own_kernels(x) and x.dtype == torch.float32 and onednn_is_faster()


def pack(weight: Tensor) -> Tensor:
    """The weight for `project` outside of autograd: a copy in the order in which oneDNN reads it, itself elsewhere.

    Few rows then take two thirds of the time (32 rows and the 27 MB of a GPT of 256: 2.0 for 3.1 ms), thousands 4 %
    less. The number of rows that oneDNN asks for makes no difference, except that 1 is taken to mean another order.
    """
    if not _by_onednn(weight):
        return weight.detach()  # not the Parameter: a module refuses one under a name that it has already
    copy: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), PACKED_FOR)
    return copy


@contextmanager
def packed(model: nn.Module) -> Iterator[None]:
    """Nothing; inside, the model's linear layers use packed copies of their weights, outside of autograd."""
    layers = [layer for layer in model.modules() if isinstance(layer, Linear)]
    try:
        for layer in layers:
            layer.packed = pack(layer.weight)
        yield
    finally:
        for layer in layers:
            layer.packed = None


def weight_gradient(grad: Tensor, x: Tensor) -> Tensor:
    """grad^T x, (out, in), of grad (N, out) and x (N, in); of the product and its transpose the one with more rows.

    With 8,192 rows of 1,024 and 256 values the taller takes 10.7 ms, the wider 11.6.
    """
    return grad.T @ x if grad.size(1) >= x.size(1) else (x.T @ grad).T
