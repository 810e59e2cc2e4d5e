"""Cross-entropy of a large vocabulary without ever holding all logits."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from llm.models.kernel_choice import on_cpu, own_kernels

CHUNK_LOGITS = 4 * 1024 * 1024  # logits held at once: 16 MB in fp32; more leave the cache, fewer cost more calls
DEVICE_CHUNK_LOGITS = 64 * 1024 * 1024  # elsewhere: 0.6 GB with softmax and bf16 copies; large products fill a GPU
LENGTHS = 8  # that the last chunk can have where oneDNN is used, which keeps .6 MB for each of a new one's products


def chunk_rows(head: Tensor) -> int:
    """Rows whose logits, (rows, V) of a head (V, C), are held at once on its device."""
    return max(64, (CHUNK_LOGITS if on_cpu(head) else DEVICE_CHUNK_LOGITS) // len(head))


def spare_rows(n: int, chunk: int) -> int:
    """Rows that fill up the last chunk of n rows to one of `LENGTHS` lengths: the gradients stay the same to the bit.

    A single row is left alone: its gradient is a product with a vector, which is not oneDNN's.

    >>> [spare_rows(n, 1024) for n in (1, 2, 128, 1000, 1024, 1030)]
    [0, 126, 0, 24, 0, 122]
    """
    last = n % chunk
    step = math.ceil(chunk / LENGTHS)
    return min(-last % step, chunk - last) if last > 1 else 0


def _chunk_loss(hidden: Tensor, weight: Tensor, targets: Tensor, ignored: Tensor | None) -> tuple[Tensor, Tensor]:
    """Summed negative log-likelihood (nats) and softmax (m, V) of one chunk, in fp32 or better.

    hidden (m, C) may have rows behind those of the targets (n,), which do not count. The largest probability is
    1 / sum(exp(logits - largest)), so the softmax gives the normaliser too: one pass of exponentials instead of two.
    """
    logits = (hidden @ weight.T).to(torch.promote_types(hidden.dtype, torch.float32))
    softmax = logits.softmax(1)
    logits = logits[: len(targets)]
    log_norm = logits.amax(1) - softmax[: len(targets)].amax(1).log()
    losses = log_norm - logits.gather(1, targets[:, None]).squeeze(1)
    return (losses if ignored is None else losses.masked_fill(ignored, 0.0)).sum(), softmax


class _LinearCrossEntropy(torch.autograd.Function):
    """The gradients are made in the forward pass, chunk by chunk, while the logits are at hand."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, ignored: Tensor | None) -> Tensor:
        """Summed loss of hidden (N, C) and weight (V, C); `ignored` (N,) tells which rows do not count."""
        n_rows = chunk_rows(weight)
        if own_kernels(hidden).products:
            hidden = F.pad(hidden, (0, 0, 0, spare_rows(len(targets), n_rows)))
        total = hidden.new_zeros((), dtype=torch.promote_types(hidden.dtype, torch.float32))
        d_hidden = torch.empty_like(hidden)
        d_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None  # a frozen head needs none
        cast_weight = weight.to(hidden.dtype)
        for start in range(0, len(targets), n_rows):
            part = slice(start, start + n_rows)
            right, left_out = targets[part], None if ignored is None else ignored[part]
            loss, d_logits = _chunk_loss(hidden[part], cast_weight, right, left_out)
            d_logits[torch.arange(len(right), device=hidden.device), right] -= 1.0  # softmax minus one-hot
            d_logits[len(right) :] = 0.0
            if left_out is not None:
                d_logits.masked_fill_(left_out[:, None], 0.0)
            d_logits = d_logits.to(hidden.dtype)
            torch.mm(d_logits, cast_weight, out=d_hidden[part])
            if d_weight is not None:
                d_weight += d_logits.T @ hidden[part]
            total += loss
        ctx.save_for_backward(d_hidden[: len(targets)])
        ctx.d_weight = d_weight
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        """Both gradients, scaled by that of the sum."""
        (d_hidden,), d_weight = ctx.saved_tensors, ctx.d_weight
        return (
            d_hidden * grad.to(d_hidden.dtype),
            None if d_weight is None else d_weight * grad.to(d_weight.dtype),
            None,
            None,
        )


def summed_loss(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Negative log-likelihood (nats) of the targets, summed; a scalar in fp32 or better.

    hidden (B, T, C), weight (V, C), targets (B, T) with -1 where nothing is to be predicted.
    """
    hidden, targets = hidden.flatten(0, 1), targets.flatten()
    if torch.is_autocast_enabled(hidden.device.type):  # closing norms give fp32, in which a GPU multiplies slowly
        hidden = hidden.to(torch.get_autocast_dtype(hidden.device.type))
    hidden, targets, ignored = _supervised(hidden, targets)
    if torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad):
        return _LinearCrossEntropy.apply(hidden, weight, targets, ignored)  # type: ignore[no-untyped-call]
    total = hidden.new_zeros((), dtype=torch.promote_types(hidden.dtype, torch.float32))
    n_rows = chunk_rows(weight)
    for start in range(0, len(targets), n_rows):
        part = slice(start, start + n_rows)
        left_out = None if ignored is None else ignored[part]
        total += _chunk_loss(hidden[part], weight.to(hidden.dtype), targets[part], left_out)[0]
    return total


def _supervised(hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """Rows and targets that count; on other devices than the CPU all of them, and which do not count.

    How many are left is only known when a device is done: asking makes the program wait for it.
    """
    ignored = targets < 0
    if not on_cpu(hidden):
        return hidden, targets.clamp(min=0), ignored
    if ignored.any():
        hidden, targets = hidden[~ignored], targets[~ignored]
    return hidden, targets, None
