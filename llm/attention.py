"""What every attention layer here shares: the mask of packed dialogues and the cache of generation."""

import math

import torch
from torch import Tensor

from llm.shape import ModelConfig


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
