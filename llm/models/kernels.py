"""The hand-made kernels: what a network computes, in fewer passes over memory or by faster products.

They are made for CPUs, and torch.compile cannot look into them. kernel_choice.py says which of them a processor uses,
layers.py and attention.py call them or torch's own; the values are the same. Times are those of 2 cores of a Zen 5,
forward and backward; "AVX2" is the same processor held to AVX2. What pays where stands in kernel_choice.py's table.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from llm.models.kernel_choice import own_kernels

LEVELS = 1 << 16  # dropout: p is rounded to a multiple of 1 / LEVELS: 0.1 to 0.100006
REORDERED_FOR = 32  # rows of a product whose weight is reordered
GELU_ROWS = 512  # tokens whose GELU is computed at once: its passes find them in the cache
SIGMOID_SCALE, CUBE = math.sqrt(8 / math.pi), 0.044715  # tanh GELU (Hendrycks & Gimpel 2016): x sigmoid(a (x + c x^3))
SCORES = 1024 * 1024  # attention scores computed at once: 4 MB in fp32; fewer cost more calls
SPLIT = 64  # queries from which it pays to leave out the keys that their first half cannot see


def keep_share(p: float) -> float:
    """Share that is kept in expectation: 1 - p, rounded to what 16 bits can tell.  keep_share(0.5) == 0.5"""
    return 1.0 - round(p * LEVELS) / LEVELS


def keep_mask(n: int, p: float) -> Tensor:
    """n bytes on the CPU, each 1 with probability `keep_share(p)`, else 0; p is below 1."""
    bits = torch.empty(math.ceil(n / 4), dtype=torch.int64).random_(-(2**63), None)
    numbers = bits.view(torch.int16)[:n]  # uniform over -LEVELS / 2, ..., LEVELS / 2 - 1
    return numbers.ge_(round(p * LEVELS) - LEVELS // 2).to(torch.uint8)


class Dropout(torch.autograd.Function):
    """Masks that cost a fifth of torch's, which draws a 32-bit number for every element, in one thread.

    Here an element takes 16 bits of torch's own generator, so that its saved state still continues a run bit for bit,
    and no mask depends on the number of threads. The mask is kept for the backward pass, a byte an element. 2.1 million
    elements: 3.8 for 10.5 ms (AVX2: 4.2 for 10.6).
    """

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


def project(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x W^T + b, (..., out); the weight may be a reordered one. On a CPU it has no gradient.

    oneDNN's own layer instead of torch's `addmm`, which first copies the bias into every row of the result: 7.2 for 8.8
    ms where 8,192 rows go from 256 to 768 values. One row, whose weights come from memory, takes half of MKL's time.
    """
    if weight.is_mkldnn or _by_onednn(x):
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
        return y
    return F.linear(x, weight, bias)


def _by_onednn(x: Tensor) -> bool:
    return own_kernels(x).products and x.dtype == torch.float32 and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]


def reorder(weight: Tensor) -> Tensor:
    """The weight for `project` outside of autograd: a copy in the order in which oneDNN reads it, itself elsewhere.

    Few rows then take two thirds of the time (32 rows and the 27 MB of a GPT of 256: 2.0 for 3.1 ms), thousands 4 %
    less. The number of rows that oneDNN asks for makes no difference, except that 1 is taken to mean another order.
    """
    if not _by_onednn(weight):
        return weight.detach()  # not the Parameter: a module refuses one under a name that it has already
    copy: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), REORDERED_FOR)
    return copy


def weight_gradient(grad: Tensor, x: Tensor) -> Tensor:
    """grad^T x, (out, in), of grad (N, out) and x (N, in); of the product and its transpose the one with more rows.

    With 8,192 rows of 1,024 and 256 values the taller takes 10.7 ms, the wider 11.6.
    """
    return grad.T @ x if grad.size(1) >= x.size(1) else (x.T @ grad).T


class LinearFunction(torch.autograd.Function):
    """x W^T + b by `project`, with the faster of two products for the weight's gradient."""

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


class GeluLinear(torch.autograd.Function):
    """gelu(x) W^T + b without keeping gelu(x): computed again in the backward pass, it costs less than its memory.

    By the sigmoid that it equals, 0.5 (1 + tanh(z)) = sigmoid(2 z), in torch's time (8,192 rows, 1,024 to 256 values:
    43.6 for 43.4 ms; AVX2: 83 for 88). What it saves is memory.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """(N, out) from (N, in)."""
        ctx.save_for_backward(x, weight)
        gelu = torch.empty_like(x)
        for x_part, part in zip(*_in_parts(x, gelu), strict=True):
            torch.mul(x_part, x_part, out=part)
            _sigmoid(x_part, part, out=part).mul_(x_part)
        return project(gelu, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of x, weight and bias; with s the sigmoid, gelu' = s + x a (1 + 3 c x^2) s (1 - s)."""
        x, weight = ctx.saved_tensors
        gelu, d_x = torch.empty_like(x), grad @ weight
        for x_part, part, d_part in zip(*_in_parts(x, gelu, d_x), strict=True):
            square = x_part * x_part
            sigmoid = _sigmoid(x_part, square, out=torch.empty_like(square))
            torch.mul(x_part, sigmoid, out=part)
            bent = torch.addcmul(x_part, x_part, square, value=3 * CUBE, out=square)
            bent = torch.ops.aten.sigmoid_backward(bent, sigmoid)
            d_part.mul_(sigmoid.add_(bent, alpha=SIGMOID_SCALE))
        return d_x, weight_gradient(grad, gelu), grad.sum(0)


def _in_parts(*tensors: Tensor) -> list[tuple[Tensor, ...]]:
    return [torch.split(t, GELU_ROWS) for t in tensors]


def _sigmoid(x: Tensor, square: Tensor, out: Tensor) -> Tensor:
    """The share of x that GELU lets through; `square` is x^2."""
    return torch.addcmul(x, x, square, value=CUBE, out=out).mul_(SIGMOID_SCALE).sigmoid_()


class Rotation(torch.autograd.Function):
    """Written where it belongs in four passes over half of the values; the plain formula takes ten over all of them.

    2.1 million values: 2.8 for 5.0 ms (AVX2: 3.1 for 5.6).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """The pairs (x[i], x[i + head_dim / 2]) turned; cos and sin are (B, 1, T, head_dim / 2)."""
        ctx.save_for_backward(cos, sin)
        first, second = x.chunk(2, dim=-1)
        turned = x.new_empty(x.shape)
        turned_first, turned_second = turned.chunk(2, dim=-1)
        torch.mul(first, cos, out=turned_first).addcmul_(second, sin, value=-1)
        torch.mul(second, cos, out=turned_second).addcmul_(first, sin)
        return turned

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        """The gradient turned back."""
        cos, sin = ctx.saved_tensors
        return Rotation.apply(grad, cos, -sin), None, None  # type: ignore[no-untyped-call]


class ScaledNorm(torch.autograd.Function):
    """In a third of the passes over memory that torch takes on a CPU, where it has no kernel of its own.

    2.1 million values: 3.3 for 5.4 ms (AVX2: 4.2 for 6.7).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """The scaled x."""
        mean_square = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_() / x.size(-1)
        factor = mean_square.add_(eps).rsqrt_()  # (B, T, 1)
        ctx.save_for_backward(x, weight, factor)
        return (x * factor).mul_(weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        """Gradients of x and of the weight."""
        x, weight, factor = ctx.saved_tensors
        product = grad * x
        pull = (product @ weight)[..., None] * factor.pow(3) / x.size(-1)  # (B, T, 1)
        d_x = (grad * weight).mul_(factor).addcmul_(x, pull, value=-1)
        return d_x, factor.flatten() @ product.flatten(0, -2), None


@dataclass(frozen=True)
class _Piece:
    """Rows of a batch, some of their queries, and the keys that these may see."""

    rows: slice
    queries: slice
    keys: slice

    def at(self, t: Tensor, part: slice) -> Tensor:
        """The part of these rows, (rows x H, length, D), from (B, H, T, D)."""
        return t[self.rows, :, part].flatten(0, 1)

    def weights(self, q: Tensor, k: Tensor, mask: Tensor) -> Tensor:
        """Attention weights (rows x H, T, S) of queries that are scaled already; the mask is the batch's."""
        scores = q @ k.mT
        one = mask[self.rows, :, self.queries, self.keys]  # the same for all heads
        scores.view(len(one), -1, *scores.shape[1:]).add_(one)
        return scores.softmax(-1)


def _pieces(mask: Tensor, n_head: int) -> list[_Piece]:
    """Pieces whose scores fit into SCORES; the first half of the queries apart where it sees no key of the second.

    The queries that see all keys come first.
    """
    B, _, T, S = mask.shape
    half = T // 2
    blocks = [(slice(0, T), slice(0, S))]
    if S == T >= SPLIT and bool((mask[:, :, half - 1, half:] == -math.inf).all()):
        blocks = [(slice(half, T), slice(0, S)), (slice(0, half), slice(0, half))]
    pieces = []
    for queries, keys in blocks:
        n = max(1, SCORES // (n_head * (queries.stop - queries.start) * keys.stop))
        pieces += [_Piece(slice(start, min(start + n, B)), queries, keys) for start in range(0, B, n)]
    return pieces


def _like(t: Tensor) -> Tensor:
    """Room for (B, H, T, D) whose transpose (B, T, H, D) is contiguous, as the projections want it."""
    return t.new_empty(t.transpose(1, 2).shape).transpose(1, 2)


class PiecewiseAttention(torch.autograd.Function):
    """Exact attention without ever holding all scores; of dropout a byte a weight is kept.

    32 rows of 256, 8 heads of 32, packed: 44 for torch's 86 ms, with dropout 61 for 136. AVX2: 59 for 54, 78 for 161:
    without dropout it does not pay there (16 rows of 128, 6 heads of 32: 7 for 6 ms).
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor, dropout: float) -> Tensor:
        """Mixed values; the mask is (B, 1, T, S)."""
        ctx.scale, ctx.keep_scale = q.size(-1) ** -0.5, 1.0 / keep_share(dropout)
        ctx.pieces = _pieces(mask, q.size(1))
        kept = []  # which weights of each piece
        y = _like(q)
        for piece in ctx.pieces:
            weights = piece.weights(piece.at(q, piece.queries) * ctx.scale, piece.at(k, piece.keys), mask)
            if dropout:
                kept.append(keep_mask(weights.numel(), dropout).view(weights.shape))
                weights.mul_(kept[-1]).mul_(ctx.keep_scale)
            mixed = y[piece.rows, :, piece.queries]
            mixed.copy_((weights @ piece.at(v, piece.keys)).view_as(mixed))
        ctx.save_for_backward(q, k, v, mask, y, *kept)
        return y

    @staticmethod
    def backward(ctx: Any, d_y: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        """Gradients of queries, keys and values; with P the weights, dS = P * (dP - sum(dy * y))."""
        q, k, v, mask, y, *kept = ctx.saved_tensors
        d_q, d_k, d_v = _like(q), _like(k), _like(v)
        for i, piece in enumerate(ctx.pieces):
            q_, y_, d_y_ = (piece.at(t, piece.queries) for t in (q, y, d_y))
            k_, v_ = (piece.at(t, piece.keys) for t in (k, v))
            q_ = q_ * ctx.scale
            weights = used = piece.weights(q_, k_, mask)
            d_weights, pull = d_y_ @ v_.mT, (d_y_ * y_).sum(-1, keepdim=True)
            if kept:
                used = (weights * kept[i]).mul_(ctx.keep_scale)
                d_weights.mul_(kept[i]).mul_(ctx.keep_scale)
            d_scores = d_weights.sub_(pull).mul_(weights)
            into = d_q[piece.rows, :, piece.queries]
            into.copy_((d_scores @ k_).mul_(ctx.scale).view_as(into))
            for total, part in ((d_k, d_scores.mT @ q_), (d_v, used.mT @ d_y_)):
                into = total[piece.rows, :, piece.keys]
                if piece.keys.stop == k.size(2):  # all keys come first
                    into.copy_(part.view_as(into))
                else:
                    into.add_(part.view_as(into))
        return d_q, d_k, d_v, None, None
