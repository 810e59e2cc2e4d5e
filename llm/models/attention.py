"""What every attention layer here shares: attention itself, the mask of packed dialogues, the cache of generation."""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from llm.machine import own_kernels
from llm.models.dropout import keep_mask, keep_share
from llm.models.shape import ModelConfig

SCORES = 1024 * 1024  # attention scores computed at once on a CPU: 4 MB in fp32; fewer cost more calls
FEW = 8  # queries up to which torch's own kernel is the faster one in `plain_products`: generation has one a row
SPLIT = 64  # queries from which it pays to leave out the keys that their first half cannot see


class KVCache:
    """Keys and values of the tokens seen so far, a layer's being (B, n_head, max_length, head_dim), from the left."""

    def __init__(self, config: ModelConfig, batch: int, max_length: int, like: Tensor) -> None:
        shape = (batch, config.n_head, max_length, config.n_embd // config.n_head)
        self.max_length = max_length
        self.k, self.v = ([like.new_empty(shape) for _ in range(config.n_layer)] for _ in range(2))
        self.length = 0

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values of `layer`, the new ones included; the last layer moves `length` on."""
        start, n = self.length, k.size(2)
        keys, values = self.k[layer].narrow(2, 0, start + n), self.v[layer].narrow(2, 0, start + n)
        keys.narrow(2, start, n).copy_(k)
        values.narrow(2, start, n).copy_(v)
        if layer == len(self.k) - 1:
            self.length = start + n
        return keys, values

    def keep(self, rows: list[int]) -> None:
        """Nothing; only these rows of the batch are left."""
        self.k, self.v = ([t[rows] for t in tensors] for tensors in (self.k, self.v))


def document_mask(documents: Tensor) -> Tensor:
    """Additive mask (B, 1, T, T) from document numbers (B, T): 0 to earlier tokens of the same document, else -inf."""
    T = documents.size(1)
    same = documents[:, None, :, None] == documents[:, None, None, :]
    causal = torch.ones(T, T, dtype=torch.bool, device=documents.device).tril()
    return torch.zeros_like(same, dtype=torch.float32).masked_fill(~(same & causal), -math.inf)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float = 0.0) -> Tensor:
    """Mixed values (B, H, T, D) of queries (B, H, T, D), keys and values (B, H, S, D); causal where there is no mask.

    The mask is additive, (B or 1, 1, T, S), and no query sees a key further right than a later query does. A single
    query without a mask sees everything. On a CPU the scores of a few rows at a time stay in the cache and are computed
    again in the backward pass (Dao et al. 2022, section 3.1): torch's own kernel does the same with many small
    products, which cost twice as much where `fast_products` applies.
    """
    T, S = q.size(2), k.size(2)
    if not own_kernels(q):
        mask = None if mask is None else mask.to(q.dtype)  # torch misreads fp32 for fp64 queries
        return F.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal=mask is None and T > 1)
    if T <= FEW and (mask is not None or T == 1) and not torch.is_grad_enabled():
        return F.scaled_dot_product_attention(q, k, v, mask)
    if mask is None:
        mask = q.new_zeros(1, 1, T, S) if T == 1 else _causal_mask(T, q)
    mask = mask.to(q.dtype).expand(q.size(0), -1, -1, -1)
    return _PiecewiseAttention.apply(q, k, v, mask, dropout)  # type: ignore[no-untyped-call]


def _causal_mask(length: int, like: Tensor) -> Tensor:
    return like.new_full((length, length), -math.inf).triu(1)[None, None]


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


class _PiecewiseAttention(torch.autograd.Function):
    """Exact attention without ever holding all scores; of dropout a byte a weight is kept."""

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
                move = into.copy_ if piece.keys.stop == k.size(2) else into.add_  # all keys come first
                move(part.view_as(into))
        return d_q, d_k, d_v, None, None
