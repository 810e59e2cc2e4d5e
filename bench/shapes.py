"""The sizes that are timed, and the one batch that every contender gets."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from llm.models.gpt import GPT
from llm.models.shape import ModelConfig
from llm.tokens.packing import TokenCorpus

SEED = 1


@dataclass(frozen=True)
class Shape:
    """A GPT-2 and its batch."""

    name: str
    model: ModelConfig
    vocab_size: int
    batch_size: int  # rows of context_length tokens

    def with_dropout(self, dropout: float, attn_dropout: float) -> "Shape":
        """The same with dropout on the residual branches and on attention weights."""
        return replace(self, model=replace(self.model, dropout=dropout, attn_dropout=attn_dropout))


def gpt2(n_layer: int, n_head: int, n_embd: int, context_length: int) -> ModelConfig:
    """The shape of a GPT-2 without dropout."""
    return ModelConfig("gpt2", n_layer, n_head, n_embd, context_length, dropout=0.0, attn_dropout=0.0)


SMALL = Shape("SMALL", gpt2(6, 8, 256, 256), vocab_size=8192, batch_size=32)
FULL = Shape("FULL", gpt2(12, 12, 768, 256), vocab_size=30_000, batch_size=8)  # GPT-2 124M, a smaller vocabulary


def fresh_gpt(shape: Shape) -> GPT:
    """Our model; every contender starts from its weights."""
    return GPT(shape.model, shape.vocab_size, torch.Generator().manual_seed(SEED))


def draw_ids(shape: Shape, rows: int, length: int) -> Tensor:
    """Token ids (rows, length), frequent ones as frequent as in text (Zipf's law)."""
    ranks = np.arange(1, shape.vocab_size + 1)
    ids = np.random.default_rng(SEED).choice(shape.vocab_size, (rows, length), p=1 / ranks / (1 / ranks).sum())
    return torch.from_numpy(ids)


def one_dialogue_a_row(ids: Tensor) -> TokenCorpus:
    """Rows (B, T) as B dialogues that fill rows of T inputs.

    A dialogue's last token is only a target; here it stands behind the row and is not learned, so that T - 1 tokens a
    row are, as in a model that is given inputs and labels of equal length.
    """
    B, T = ids.shape
    flat = torch.cat([ids, ids[:, -1:]], dim=1).numpy().astype(np.uint16)
    supervised = np.ones(flat.shape, np.bool_)
    supervised[:, -1] = False
    starts = np.arange(B) * (T + 1)
    return TokenCorpus(flat.ravel(), np.append(starts, B * (T + 1)), starts, supervised.ravel())
