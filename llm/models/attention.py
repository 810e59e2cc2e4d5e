"""Attention, the mask of packed dialogues, and the cache of generation."""

import functools
import logging
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Union

import torch
import torch.nn.functional as F
from torch import Tensor

from llm.models.kernel_choice import own_kernels
from llm.models.kernels import PiecewiseAttention
from llm.models.shape import ModelConfig

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

Mask = Union[Tensor, "BlockMask"]  # an additive one, or one of FlexAttention

logger = logging.getLogger(__name__)

FLEX_TOLERANCE = 2e-2  # of mixed values about 1 in bf16, whose steps are 8e-3
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


def packed_mask(documents: Tensor, config: ModelConfig, training: bool) -> Mask:
    """The mask of document numbers (B, T) that `attend` is fastest with on their device.

    On CUDA an additive mask keeps attention off the flash kernel. FlexAttention (Dong et al. 2024) computes the mask
    inside its kernel, and skips blocks of 128 by 128 that show nothing; it has no dropout.
    """
    dropout = config.attn_dropout if training else 0.0
    if dropout == 0.0 and flex_serves(documents.device, config.n_embd // config.n_head):
        return block_mask(documents)
    return document_mask(documents)


def block_mask(documents: Tensor) -> "BlockMask":
    """FlexAttention's mask from document numbers (B, T), the same for all heads and layers."""
    from torch.nn.attention.flex_attention import create_block_mask

    def seen(b: Tensor, h: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (documents[b, query] == documents[b, key]) & (key <= query)

    B, T = documents.shape
    return create_block_mask(seen, B, None, T, T, device=documents.device)


@functools.cache
def flex_serves(device: torch.device, head_dim: int) -> bool:
    """Whether FlexAttention works on the device, forward and backward: tried once, on CUDA only.

    It needs a GPU and an installation that Triton can compile for. Of this path the mask, the values and the gradients
    are tested against the additive mask on a CPU, in FlexAttention's uncompiled form; the compiled kernel has never
    been run. Therefore the trial compares it with torch's attention before a run relies on it.
    """
    if device.type != "cuda":
        return False
    why = try_flex(device, head_dim, torch.bfloat16)
    if why is not None:
        logger.warning("FlexAttention does not work here, packed rows are computed with a mask in memory: %s", why)
    return why is None


@torch.enable_grad()
def try_flex(device: torch.device, head_dim: int, dtype: torch.dtype) -> str | None:
    """Why FlexAttention does not do, or None."""
    draw = torch.Generator().manual_seed(1)  # of the CPU: the device's own numbers are those of the run
    q, k, v, upstream = (torch.randn(2, 2, 128, head_dim, generator=draw).to(device, dtype) for _ in range(4))
    inputs = [t.requires_grad_() for t in (q, k, v)]
    documents = (torch.arange(256, device=device) // 48).view(2, 128)
    expected = attend(q, k, v, document_mask(documents))
    try:
        found = attend(q, k, v, block_mask(documents))
        gradients = torch.autograd.grad(found, inputs, upstream)
    except (RuntimeError, ValueError, OSError, ImportError) as error:  # what is missing differs between machines
        return str(error).split("\n")[0]
    made, due = (found, *gradients), (expected, *torch.autograd.grad(expected, inputs, upstream))
    difference = max(float((a - b).detach().norm() / b.detach().norm()) for a, b in zip(made, due, strict=True))
    if not difference <= FLEX_TOLERANCE:  # a NaN is wrong too
        return f"its values or gradients differ by a relative {difference:.2g}"
    return None


@functools.cache
def _compiled_flex() -> Callable[..., Any]:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention)


def _flex_attention(q: Tensor, k: Tensor, v: Tensor, mask: "BlockMask") -> Tensor:
    """Compiled, unless what it is called from is being compiled or there is no kernel to compile it to."""
    from torch.nn.attention.flex_attention import flex_attention

    attention: Callable[..., Any] = flex_attention
    if q.device.type == "cuda" and not torch.compiler.is_compiling():
        attention = _compiled_flex()
    return attention(q, k, v, block_mask=mask)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Mask | None, dropout: float = 0.0) -> Tensor:
    """Mixed values (B, H, T, D) of queries (B, H, T, D), keys and values (B, H, S, D); causal where there is no mask.

    The mask is additive, (B or 1, 1, T, S), and no query sees a key further right than a later query does; or it is one
    of FlexAttention, without dropout. A single query without a mask sees everything. On a CPU the scores of a few rows
    at a time stay in the cache and are computed again in the backward pass (Dao et al. 2022, section 3.1): torch's own
    kernel does the same with many small products, which cost twice as much where oneDNN is the faster one.
    """
    if mask is not None and not isinstance(mask, Tensor):
        return _flex_attention(q, k, v, mask)
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
