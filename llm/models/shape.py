"""The shape of a network, the same few numbers for every architecture."""

from dataclasses import dataclass
from typing import Literal

from llm.ranges import check_range


@dataclass(frozen=True)
class ModelConfig:
    """The section `model` of params.yaml; the vocabulary's size comes from the tokenizer."""

    architecture: Literal["gpt2", "llama", "qwen3"]
    n_layer: int
    n_head: int
    n_embd: int
    context_length: int  # tokens
    dropout: float  # after the embedding and at the end of each residual branch
    attn_dropout: float  # on attention weights; above 0 attention takes half as long again on a CPU

    def __post_init__(self) -> None:
        for name in ("n_layer", "n_head", "n_embd"):
            check_range(name, getattr(self, name), 1, 100_000)
        check_range("context_length", self.context_length, 8, 1_000_000)
        check_range("dropout", self.dropout, 0.0, 0.9)
        check_range("attn_dropout", self.attn_dropout, 0.0, 0.9)
        if self.n_embd % self.n_head:
            raise ValueError(f"n_embd {self.n_embd} is not a multiple of n_head {self.n_head}")
