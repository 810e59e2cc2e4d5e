"""The same network with the parts that later models settled on: RMSNorm, rotary positions, SwiGLU, no biases.

It is the architecture of Llama (Touvron et al. 2023) and of Mistral (Jiang et al. 2023) without grouped queries.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llm.machine import own_kernels
from llm.models.attention import KVCache, attend, document_mask
from llm.models.dropout import dropout
from llm.models.linear import Linear
from llm.models.shape import ModelConfig

ROPE_BASE = 10_000.0  # Su et al. 2021, section 3.3
NORM_EPS = 1e-5
MLP_MULTIPLE = 32  # the MLP's width is rounded up to this


def mlp_width(n_embd: int) -> int:
    """Width of the gated MLP: 8/3 of the model's, so that three matrices weigh what GPT-2's two do (Shazeer 2020)."""
    return MLP_MULTIPLE * math.ceil(8 * n_embd / 3 / MLP_MULTIPLE)


def rotation_table(length: int, head_dim: int) -> Tensor:
    """Cosines and sines (2, length, head_dim / 2) of the rotary positions."""
    rates = ROPE_BASE ** (-torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    angles = torch.outer(torch.arange(length, dtype=torch.float32), rates)
    return torch.stack([angles.cos(), angles.sin()])


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Queries or keys (B, n_head, T, head_dim), each pair of components turned by its position's angle."""
    if own_kernels(x):
        return _Rotation.apply(x, cos, sin)  # type: ignore[no-untyped-call]
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1).to(x.dtype)


class _Rotation(torch.autograd.Function):
    """Written where it belongs in four passes over half of the values; the plain formula takes ten over all of them."""

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
        return _Rotation.apply(grad, cos, -sin), None, None  # type: ignore[no-untyped-call]


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps), scaled (Zhang & Sennrich 2019)."""

    def __init__(self, n_embd: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n_embd))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) from (B, T, C)."""
        if not own_kernels(x):
            return F.rms_norm(x, (x.size(-1),), self.weight, NORM_EPS)
        return _RMSNorm.apply(x, self.weight)  # type: ignore[no-untyped-call]


class _RMSNorm(torch.autograd.Function):
    """In a third of the passes over memory that torch takes on a CPU, where it has no kernel of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        """The scaled x."""
        mean_square = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_() / x.size(-1)
        factor = mean_square.add_(NORM_EPS).rsqrt_()  # (B, T, 1)
        ctx.save_for_backward(x, weight, factor)
        return (x * factor).mul_(weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of x and of the weight."""
        x, weight, factor = ctx.saved_tensors
        product = grad * x
        pull = (product @ weight)[..., None] * factor.pow(3) / x.size(-1)  # (B, T, 1)
        d_x = (grad * weight).mul_(factor).addcmul_(x, pull, value=-1)
        return d_x, factor.flatten() @ product.flatten(0, -2)


class Attention(nn.Module):
    """Causal multi-head self-attention with rotary positions."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.n_head = config.n_head
        self.attn_dropout = config.attn_dropout
        self.qkv = Linear(config.n_embd, 3 * config.n_embd, bias=False)
        self.qkv.weight.n_stacked = 3  # type: ignore[attr-defined]  # three matrices to Muon
        self.proj = Linear(config.n_embd, config.n_embd, bias=False)
        self.dropout = config.dropout

    def forward(
        self, x: Tensor, rotation: tuple[Tensor, Tensor], mask: Tensor | None, layer: int, cache: KVCache | None
    ) -> Tensor:
        """Mixed values (B, T, C)."""
        B, T, C = x.shape
        q, k, v = (
            t.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)  # (B, n_head, T, head_dim)
            for t in self.qkv(x).split(C, dim=2)
        )
        q, k = rotate(q, *rotation), rotate(k, *rotation)
        if cache is not None:
            k, v = cache.extend(layer, k, v)
        p = self.attn_dropout if self.training else 0.0
        y = attend(q, k, v, mask, p)
        return dropout(self.proj(y.transpose(1, 2).reshape(B, T, C)), self.dropout, self.training)


class MLP(nn.Module):
    """Two linear layers with a gate between them (SwiGLU)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = mlp_width(config.n_embd)
        self.gate = Linear(config.n_embd, width, bias=False)
        self.up = Linear(config.n_embd, width, bias=False)
        self.proj = Linear(width, config.n_embd, bias=False)
        self.dropout = config.dropout

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) from (B, T, C)."""
        return dropout(self.proj(F.silu(self.gate(x)) * self.up(x)), self.dropout, self.training)


class Block(nn.Module):
    """Attention, then the MLP, each added to the residual stream."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm_1 = RMSNorm(config.n_embd)
        self.attn = Attention(config)
        self.norm_2 = RMSNorm(config.n_embd)
        self.mlp = MLP(config)

    def forward(
        self, x: Tensor, rotation: tuple[Tensor, Tensor], mask: Tensor | None, layer: int, cache: KVCache | None
    ) -> Tensor:
        """The residual stream (B, T, C), moved on."""
        x = x + self.attn(self.norm_1(x), rotation, mask, layer, cache)
        return x + self.mlp(self.norm_2(x))


class Llama(nn.Module):
    """The whole network; `generator` draws the initial weights, so that a seed fixes them."""

    def __init__(self, config: ModelConfig, vocab_size: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.vocab_size = vocab_size
        self.tokens = nn.Embedding(vocab_size, config.n_embd)
        self.dropout = config.dropout
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.norm_f = RMSNorm(config.n_embd)
        table = rotation_table(config.context_length, config.n_embd // config.n_head)
        self.rotation: Tensor
        self.register_buffer("rotation", table, persistent=False)
        self._init_weights(generator)

    @property
    def head(self) -> Tensor:
        """Output matrix (vocab_size, n_embd), tied to the token embedding."""
        return self.tokens.weight

    def hidden(
        self,
        ids: Tensor,
        positions: Tensor | None = None,
        documents: Tensor | None = None,
        mask: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """Last hidden states (B, T, n_embd) of ids (B, T); the arguments are those of `GPT.hidden`."""
        if positions is None:
            positions = torch.arange(ids.size(1), device=ids.device)[None]
        if documents is not None:
            mask = document_mask(documents)
        x = dropout(self.tokens(ids), self.dropout, self.training)  # (B, T, n_embd)
        cos, sin = self.rotation[:, positions, :].to(x.dtype)[:, :, None]  # (B, 1, T, head_dim) each
        for layer, block in enumerate(self.blocks):
            x = block(x, (cos, sin), mask, layer, cache)
        return self.norm_f(x)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (B, T, vocab_size) of one dialogue a row."""
        return self.hidden(ids) @ self.head.T

    def _init_weights(self, generator: torch.Generator | None) -> None:
        """Normal with deviation 0.02, the last matrix of each residual branch smaller by sqrt(2 n_layer)."""
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                std = 0.02 / math.sqrt(2 * self.config.n_layer) if name.endswith("proj.weight") else 0.02
                nn.init.normal_(parameter, std=std, generator=generator)
