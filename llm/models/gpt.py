"""GPT-2 (Radford et al. 2019): learned positions, LayerNorm before each part, tanh GELU, head tied to the embedding."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llm.machine import own_kernels
from llm.models.attention import KVCache, attend, document_mask
from llm.models.dropout import dropout
from llm.models.linear import Linear, project, weight_gradient
from llm.models.shape import ModelConfig


class Attention(nn.Module):
    """Causal multi-head self-attention (Vaswani et al. 2017, section 3.2)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.n_head = config.n_head
        self.attn_dropout = config.attn_dropout
        self.qkv = Linear(config.n_embd, 3 * config.n_embd)
        self.qkv.weight.n_stacked = 3  # type: ignore[attr-defined]  # three matrices to Muon
        self.proj = Linear(config.n_embd, config.n_embd)
        self.dropout = config.dropout

    def forward(self, x: Tensor, mask: Tensor | None, layer: int, cache: KVCache | None) -> Tensor:
        """Mixed values (B, T, C)."""
        B, T, C = x.shape
        q, k, v = (
            t.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)  # (B, n_head, T, head_dim)
            for t in self.qkv(x).split(C, dim=2)
        )
        if cache is not None:
            k, v = cache.extend(layer, k, v)
        p = self.attn_dropout if self.training else 0.0
        y = attend(q, k, v, mask, p)
        return dropout(self.proj(y.transpose(1, 2).reshape(B, T, C)), self.dropout, self.training)


ROWS = 512  # tokens whose GELU is computed at once: its passes find them in the cache
SIGMOID_SCALE, CUBE = math.sqrt(8 / math.pi), 0.044715  # tanh GELU (Hendrycks & Gimpel 2016): x sigmoid(a (x + c x^3))


class _GeluLinear(torch.autograd.Function):
    """gelu(x) W^T + b without keeping gelu(x): computed again in the backward pass, it costs less than its memory.

    By the sigmoid that it equals, 0.5 (1 + tanh(z)) = sigmoid(2 z): half of the time of torch's kernels.
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
    return [torch.split(t, ROWS) for t in tensors]


def _sigmoid(x: Tensor, square: Tensor, out: Tensor) -> Tensor:
    """The share of x that GELU lets through; `square` is x^2."""
    return torch.addcmul(x, x, square, value=CUBE, out=out).mul_(SIGMOID_SCALE).sigmoid_()


class MLP(nn.Module):
    """Two linear layers, four times as wide between them."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.fc = Linear(config.n_embd, 4 * config.n_embd)
        self.proj = Linear(4 * config.n_embd, config.n_embd)
        self.dropout = config.dropout

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) from (B, T, C)."""
        x = self.fc(x)
        if not own_kernels(x) or not torch.is_grad_enabled():
            return dropout(self.proj(F.gelu(x, approximate="tanh")), self.dropout, self.training)
        y: Tensor = _GeluLinear.apply(x.flatten(0, 1), self.proj.weight, self.proj.bias)  # type: ignore[no-untyped-call]
        return dropout(y.view(*x.shape[:2], -1), self.dropout, self.training)


class Block(nn.Module):
    """Attention, then the MLP, each added to the residual stream."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd)
        self.attn = Attention(config)
        self.ln_2 = nn.LayerNorm(config.n_embd)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, mask: Tensor | None, layer: int, cache: KVCache | None) -> Tensor:
        """The residual stream (B, T, C), moved on."""
        x = x + self.attn(self.ln_1(x), mask, layer, cache)
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    """The whole network. `generator` draws the initial weights, so that a seed fixes them.

    >>> config = ModelConfig("gpt2", n_layer=2, n_head=2, n_embd=8, context_length=16, dropout=0.0, attn_dropout=0.0)
    >>> GPT(config, 50, torch.Generator().manual_seed(1))(torch.zeros(1, 4, dtype=torch.long)).shape
    torch.Size([1, 4, 50])
    """

    def __init__(self, config: ModelConfig, vocab_size: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.vocab_size = vocab_size
        self.tokens = nn.Embedding(vocab_size, config.n_embd)
        self.positions = nn.Embedding(config.context_length, config.n_embd)
        self.dropout = config.dropout
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.n_embd)
        self._init_weights(generator)

    @property
    def head(self) -> Tensor:
        """Output matrix (vocab_size, n_embd), tied to the token embedding (Press & Wolf 2017)."""
        return self.tokens.weight

    def hidden(
        self,
        ids: Tensor,
        positions: Tensor | None = None,
        documents: Tensor | None = None,
        mask: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """Last hidden states (B, T, n_embd) of ids (B, T).

        `positions` (B, T) default to 0, 1, 2, ...; `documents` (B, T) number the packed dialogues, which do not see
        each other; `mask` is an additive one made by the caller, needed with a `cache`.
        """
        if positions is None:
            positions = torch.arange(ids.size(1), device=ids.device)
        if documents is not None:
            mask = document_mask(documents)
        x = dropout(self.tokens(ids) + self.positions(positions), self.dropout, self.training)  # (B, T, n_embd)
        for layer, block in enumerate(self.blocks):
            x = block(x, mask, layer, cache)
        return self.ln_f(x)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (B, T, vocab_size) of one dialogue a row."""
        return self.hidden(ids) @ self.head.T

    def _init_weights(self, generator: torch.Generator | None) -> None:
        """GPT-2's: normal with deviation 0.02, residual projections smaller by sqrt(2 n_layer), biases 0."""
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                std = 0.02 / math.sqrt(2 * self.config.n_layer) if name.endswith("proj.weight") else 0.02
                nn.init.normal_(parameter, std=std, generator=generator)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)
