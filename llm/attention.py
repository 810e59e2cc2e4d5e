"""What every attention layer here shares: attention itself, the mask of packed dialogues, the cache of generation."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from llm.dropout import keep_mask, keep_share
from llm.shape import ModelConfig

SCORES = 512 * 1024  # attention scores computed at once on a CPU: 2 MB in fp32, the size of its second-level cache


class KVCache:
    """Keys and values of the tokens seen so far, (n_layer, B, n_head, max_length, head_dim), filled from the left."""

    def __init__(self, config: ModelConfig, batch: int, max_length: int, like: Tensor) -> None:
        shape = (config.n_layer, batch, config.n_head, max_length, config.n_embd // config.n_head)
        self.k, self.v = like.new_empty(shape), like.new_empty(shape)
        self.length = 0

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values of `layer`, the new ones included; the last layer moves `length` on."""
        end = self.length + k.size(2)
        self.k[layer, :, :, self.length : end] = k
        self.v[layer, :, :, self.length : end] = v
        keys, values = self.k[layer, :, :, :end], self.v[layer, :, :, :end]
        if layer == self.k.size(0) - 1:
            self.length = end
        return keys, values


def document_mask(documents: Tensor) -> Tensor:
    """Additive mask (B, 1, T, T) from document numbers (B, T): 0 to earlier tokens of the same document, else -inf."""
    T = documents.size(1)
    same = documents[:, None, :, None] == documents[:, None, None, :]
    causal = torch.ones(T, T, dtype=torch.bool, device=documents.device).tril()
    return torch.zeros_like(same, dtype=torch.float32).masked_fill(~(same & causal), -math.inf)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float = 0.0) -> Tensor:
    """Mixed values (B, H, T, D) of queries (B, H, T, D), keys and values (B, H, S, D); causal where there is no mask.

    The mask is additive, (B or 1, 1, T, S). A single query without a mask sees everything. On a CPU the scores of a few
    rows at a time stay in the cache and are computed again in the backward pass (Dao et al. 2022, section 3.1): torch's
    own kernel does the same with many small products, which cost twice as much where `fast_products` applies.
    """
    T, S = q.size(2), k.size(2)
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal=mask is None and T > 1)
    if mask is None:
        mask = q.new_zeros(1, 1, T, S) if T == 1 else _causal_mask(T, q)
    mask = mask.to(q.dtype).expand(q.size(0), -1, -1, -1)
    return _ChunkedAttention.apply(q, k, v, mask, dropout)  # type: ignore[no-untyped-call]


def _causal_mask(length: int, like: Tensor) -> Tensor:
    return like.new_full((length, length), -math.inf).triu(1)[None, None]


def _weights(q: Tensor, k: Tensor, mask: Tensor) -> Tensor:
    """Attention weights (n, T, S) of n heads."""
    return torch.baddbmm(mask, q, k.mT, alpha=q.size(-1) ** -0.5).softmax(-1)


def _chunks(mask: Tensor, n_head: int) -> list[tuple[slice, Tensor]]:
    """Rows whose scores fit into SCORES, and their mask repeated for every head, (rows x n_head, T, S)."""
    B, _, T, S = mask.shape
    n = max(1, SCORES // (n_head * T * S))
    rows = [slice(start, min(start + n, B)) for start in range(0, B, n)]
    return [(part, mask[part].expand(-1, n_head, -1, -1).reshape(-1, T, S)) for part in rows]


class _ChunkedAttention(torch.autograd.Function):
    """Exact attention without ever holding all scores; of dropout a byte a weight is kept."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor, dropout: float) -> Tensor:
        """Mixed values; the mask is (B, 1, T, S)."""
        q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
        y = torch.empty_like(q)
        kept = []  # which weights of each chunk, (n, T, S)
        for part, mask_part in _chunks(mask, q.size(1)):
            q_part, k_part, v_part, y_part = (t[part].flatten(0, 1) for t in (q, k, v, y))
            weights = _weights(q_part, k_part, mask_part)
            if dropout:
                kept.append(keep_mask(weights.numel(), dropout).view(weights.shape))
                weights.mul_(kept[-1])
            torch.bmm(weights, v_part, out=y_part)
        ctx.scale = 1.0 / keep_share(dropout)
        if dropout:
            y.mul_(ctx.scale)
        ctx.save_for_backward(q, k, v, mask, y, *kept)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        """Gradients of queries, keys and values; with P the weights, dS = P * (dP - sum(dy * y))."""
        q, k, v, mask, y, *kept = ctx.saved_tensors
        inner = (dy * y).sum(-1, keepdim=True)  # (B, H, T, 1)
        dy = (dy * ctx.scale if kept else dy).contiguous()
        dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        for i, (part, mask_part) in enumerate(_chunks(mask, q.size(1))):
            q_, k_, v_, dy_, dq_, dk_, dv_, inner_ = (
                t[part].flatten(0, 1) for t in (q, k, v, dy, dq, dk, dv, inner)
            )  # views of the rows, (n, T, D)
            weights = _weights(q_, k_, mask_part)
            d_weights = torch.bmm(dy_, v_.mT)
            if kept:
                d_weights.mul_(kept[i])
            torch.bmm((weights * kept[i] if kept else weights).mT, dy_, out=dv_)
            d_scores = d_weights.sub_(inner_).mul_(weights).mul_(q.size(-1) ** -0.5)
            torch.bmm(d_scores, k_, out=dq_)
            torch.bmm(d_scores.mT, q_, out=dk_)
        return dq, dk, dv, None, None
