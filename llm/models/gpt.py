"""GPT-2 (Radford et al. 2019): learned positions, LayerNorm before each part, tanh GELU, head tied to the embedding."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from llm.models.attention import Cache, Mask, attend, join_heads, packed_mask, split_heads
from llm.models.layers import Linear, dropout, gelu_linear, init_weights
from llm.models.shape import ModelConfig


class Attention(nn.Module):
    """Causal multi-head self-attention (Vaswani et al. 2017, section 3.2)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.qkv = Linear(config.n_embd, 3 * config.n_embd)
        self.qkv.weight.n_stacked = 3  # type: ignore[attr-defined]  # three matrices to Muon
        self.proj = Linear(config.n_embd, config.n_embd)

    def forward(self, x: Tensor, mask: Mask | None, cache: Cache | None) -> Tensor:
        """Mixed values (B, T, C)."""
        q, k, v = (split_heads(t, self.config.n_head) for t in self.qkv(x).chunk(3, dim=2))  # (B, n_head, T, head_dim)
        if cache is not None:
            k, v = cache.extend(k, v)
        y = attend(q, k, v, mask, self.config.attn_dropout if self.training else 0.0)  # (B, n_head, T, head_dim)
        return dropout(self.proj(join_heads(y)), self.config.dropout, self.training)


class MLP(nn.Module):
    """Two linear layers, four times as wide between them."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.fc = Linear(config.n_embd, 4 * config.n_embd)
        self.proj = Linear(4 * config.n_embd, config.n_embd)
        self.dropout = config.dropout

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) from (B, T, C)."""
        return dropout(gelu_linear(self.fc(x), self.proj), self.dropout, self.training)


class Block(nn.Module):
    """Attention, then the MLP, each added to the residual stream."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd)
        self.attn = Attention(config)
        self.ln_2 = nn.LayerNorm(config.n_embd)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, mask: Mask | None, cache: Cache | None) -> Tensor:
        """The residual stream (B, T, C) behind this block."""
        x = x + self.attn(self.ln_1(x), mask, cache)
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    """The whole network. `generator` draws the initial weights, so that a seed fixes them.

    >>> config = ModelConfig("gpt2", n_layer=2, n_head=2, n_embd=8, context_length=16, dropout=0.0, attn_dropout=0.0)
    >>> GPT(config, 50, torch.Generator().manual_seed(1))(torch.zeros(1, 4, dtype=torch.long)).shape
    torch.Size([1, 4, 50])
    """

    def __init__(self, config: ModelConfig, vocab_size: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config, self.vocab_size = config, vocab_size
        self.tokens = nn.Embedding(vocab_size, config.n_embd)
        self.positions = nn.Embedding(config.context_length, config.n_embd)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.n_embd)
        init_weights(self, config.n_layer, generator)

    @property
    def head(self) -> Tensor:
        """Output matrix (vocab_size, n_embd), tied to the token embedding (Press & Wolf 2017)."""
        return self.tokens.weight

    def hidden(
        self,
        ids: Tensor,
        positions: Tensor | None = None,
        documents: Tensor | None = None,
        mask: Mask | None = None,
        caches: Sequence[Cache] | None = None,
    ) -> Tensor:
        """Last hidden states (B, T, n_embd) of ids (B, T).

        `positions` (B, T) default to 0, 1, 2, ...; `documents` (B, T) number the packed dialogues, which do not see
        each other; `mask` is an additive one made by the caller, needed with `caches`, one for each block.
        """
        if positions is None:
            positions = torch.arange(ids.size(1), device=ids.device)
        if documents is not None:
            mask = packed_mask(documents, self.config, self.training)
        x = dropout(self.tokens(ids) + self.positions(positions), self.config.dropout, self.training)  # (B, T, n_embd)
        for i, block in enumerate(self.blocks):
            x = block(x, mask, caches[i] if caches else None)
        return self.ln_f(x)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (B, T, vocab_size) of one dialogue a row."""
        return self.hidden(ids) @ self.head.T
