"""The same network with the parts that later models settled on: RMSNorm, rotary positions, SwiGLU, no biases.

It is the architecture of Llama (Touvron et al. 2023) and of Mistral (Jiang et al. 2023) without grouped queries; as
`qwen3` that of Qwen3 (Yang et al. 2025), whose queries and keys are normed in each head (Henry et al. 2020).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llm.models.attention import Cache, Mask, attend, join_heads, packed_mask, split_heads
from llm.models.layers import Linear, RMSNorm, dropout, init_weights, mlp_width, rotate, rotation_table
from llm.models.shape import ModelConfig

Rotation = tuple[Tensor, Tensor]  # cosines and sines (B, 1, T, head_dim / 2) of each token's position


class Attention(nn.Module):
    """Causal multi-head self-attention with rotary positions."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.qkv = Linear(config.n_embd, 3 * config.n_embd, bias=False)
        self.qkv.weight.n_stacked = 3  # type: ignore[attr-defined]  # three matrices to Muon
        self.proj = Linear(config.n_embd, config.n_embd, bias=False)
        self.normed = config.architecture == "qwen3"
        if self.normed:
            head_dim = config.n_embd // config.n_head
            self.norm_q, self.norm_k = RMSNorm(head_dim), RMSNorm(head_dim)

    def forward(self, x: Tensor, rotation: Rotation, mask: Mask | None, cache: Cache | None) -> Tensor:
        """Mixed values (B, T, C)."""
        q, k, v = (split_heads(t, self.config.n_head) for t in self.qkv(x).chunk(3, dim=2))  # (B, n_head, T, head_dim)
        if self.normed:
            q, k = self.norm_q(q), self.norm_k(k)
        q, k = rotate(q, *rotation), rotate(k, *rotation)
        if cache is not None:
            k, v = cache.extend(k, v)
        y = attend(q, k, v, mask, self.config.attn_dropout if self.training else 0.0)  # (B, n_head, T, head_dim)
        return dropout(self.proj(join_heads(y)), self.config.dropout, self.training)


class MLP(nn.Module):
    """Two linear layers with a gate between them (SwiGLU)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate = Linear(config.n_embd, mlp_width(config.n_embd), bias=False)
        self.up = Linear(config.n_embd, mlp_width(config.n_embd), bias=False)
        self.proj = Linear(mlp_width(config.n_embd), config.n_embd, bias=False)
        self.dropout = config.dropout

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) from (B, T, C)."""
        return dropout(self.proj(F.silu(self.gate(x)) * self.up(x)), self.dropout, self.training)


class Block(nn.Module):
    """Attention, then the MLP, each added to the residual stream."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm_1, self.attn = RMSNorm(config.n_embd), Attention(config)
        self.norm_2, self.mlp = RMSNorm(config.n_embd), MLP(config)

    def forward(self, x: Tensor, rotation: Rotation, mask: Mask | None, cache: Cache | None) -> Tensor:
        """The residual stream (B, T, C) behind this block."""
        x = x + self.attn(self.norm_1(x), rotation, mask, cache)
        return x + self.mlp(self.norm_2(x))


class Llama(nn.Module):
    """The whole network; `generator` draws the initial weights, so that a seed fixes them."""

    rotation: Tensor  # (2, context_length, head_dim / 2)

    def __init__(self, config: ModelConfig, vocab_size: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config, self.vocab_size = config, vocab_size
        self.tokens = nn.Embedding(vocab_size, config.n_embd)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.norm_f = RMSNorm(config.n_embd)
        table = rotation_table(config.context_length, config.n_embd // config.n_head)
        self.register_buffer("rotation", table, persistent=False)
        init_weights(self, config.n_layer, generator)

    @property
    def head(self) -> Tensor:
        """Output matrix (vocab_size, n_embd), tied to the token embedding."""
        return self.tokens.weight

    def hidden(
        self,
        ids: Tensor,
        positions: Tensor | None = None,
        documents: Tensor | None = None,
        mask: Mask | None = None,
        caches: Sequence[Cache] | None = None,
    ) -> Tensor:
        """Last hidden states (B, T, n_embd) of ids (B, T); the arguments are those of `GPT.hidden`."""
        if positions is None:
            positions = torch.arange(ids.size(1), device=ids.device)[None]
        if documents is not None:
            mask = packed_mask(documents, self.config, self.training)
        x = dropout(self.tokens(ids), self.config.dropout, self.training)  # (B, T, n_embd)
        cos, sin = self.rotation[:, positions, :].to(x.dtype)[:, :, None]  # (B, 1, T, head_dim / 2) each
        for i, block in enumerate(self.blocks):
            x = block(x, (cos, sin), mask, caches[i] if caches else None)
        return self.norm_f(x)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (B, T, vocab_size) of one dialogue a row."""
        return self.hidden(ids) @ self.head.T
