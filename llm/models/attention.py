"""Attention, the mask of packed dialogues, and the cache of generation."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from llm.models.kernel_choice import own_kernels
from llm.models.kernels import PiecewiseAttention
from llm.models.shape import ModelConfig

FEW = 8  # queries up to which torch's own kernel is the faster one in `plain_products`: generation has one a row


class Cache:
    """Keys and values that one layer has seen, (B, n_head, max_length, head_dim), filled from the left."""

    def __init__(self, config: ModelConfig, batch: int, max_length: int, like: Tensor) -> None:
        shape = (batch, config.n_head, max_length, config.n_embd // config.n_head)
        self.k, self.v = like.new_empty(shape), like.new_empty(shape)
        self.length = 0

    def extend(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values, the new ones included."""
        start, n = self.length, k.size(2)
        self.length = start + n
        keys, values = self.k.narrow(2, 0, self.length), self.v.narrow(2, 0, self.length)
        keys.narrow(2, start, n).copy_(k)
        values.narrow(2, start, n).copy_(v)
        return keys, values

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all other rows of the batch."""
        kept = list(rows)
        self.k, self.v = self.k[kept], self.v[kept]


def new_caches(config: ModelConfig, batch: int, max_length: int, like: Tensor) -> list[Cache]:
    """An empty cache for each layer, on the device and in the type of `like`."""
    return [Cache(config, batch, max_length, like) for _ in range(config.n_layer)]


def split_heads(x: Tensor, n_head: int) -> Tensor:
    """(B, n_head, T, head_dim) from (B, T, C)."""
    B, T, C = x.shape
    return x.view(B, T, n_head, C // n_head).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """(B, T, C) from (B, n_head, T, head_dim)."""
    return x.transpose(1, 2).flatten(2)


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
    products, which cost twice as much where oneDNN is the faster one.
    """
    T, S = q.size(2), k.size(2)
    own = own_kernels(q)
    if not (own.attention_dropout if dropout else own.attention):
        mask = None if mask is None else mask.to(q.dtype)  # torch misreads fp32 for fp64 queries
        return F.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal=mask is None and T > 1)
    if T <= FEW and (mask is not None or T == 1) and not torch.is_grad_enabled():
        return F.scaled_dot_product_attention(q, k, v, mask)
    if mask is None:
        mask = q.new_zeros(1, 1, T, S) if T == 1 else _causal_mask(T, q)
    mask = mask.to(q.dtype).expand(q.size(0), -1, -1, -1)
    return PiecewiseAttention.apply(q, k, v, mask, dropout)  # type: ignore[no-untyped-call]


def _causal_mask(length: int, like: Tensor) -> Tensor:
    return like.new_full((length, length), -math.inf).triu(1)[None, None]
