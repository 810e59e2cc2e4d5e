"""Replies of the models trained here: many prompts at once, keys and values kept, sampling independent of the batch."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from llm.inference.decoding import Decoding
from llm.inference.replies import Draft, TokenTexts, prompt_room, write_replies
from llm.machine import plain_products
from llm.models.attention import Cache, document_mask, new_caches
from llm.models.gpt import GPT
from llm.models.kernels import project, reorder
from llm.models.layers import reordered_weights
from llm.models.llama import Llama


def generate(
    model: GPT | Llama,
    prompts: Sequence[Sequence[int]],
    draws: Tensor,
    decoding: Decoding,
    stop: Collection[int],
    texts: TokenTexts,
    batch_tokens: int,
) -> list[Draft]:
    """The reply to each prompt, up to a token in `stop` or to more than `max_reply_bytes` of text.

    A prompt longer than `prompt_room` loses its left. `draws` (prompts, tokens) in [0, 1) decide the sampling, and how
    many tokens a reply has at most. A batch holds at most `batch_tokens` keys and values, or one prompt.
    """
    window = model.config.context_length
    room = prompt_room(window)
    drafts = [Draft(list(prompt[-room:]), row, stop) for prompt, row in zip(prompts, draws, strict=True)]
    with reordered_weights(model):
        head = reorder(model.head)

        def read(contexts: list[list[int]], more: int) -> tuple[CachedRows, Tensor]:
            return read_rows(model, head, contexts, more)

        write_replies(drafts, decoding, texts, window, batch_tokens, read)
    return drafts


@dataclass
class CachedRows:
    """Texts whose keys and values stand in caches, one a row."""

    model: GPT | Llama
    head: Tensor  # the model's, perhaps reordered
    caches: list[Cache]
    lengths: Tensor  # (B,) tokens read
    padding: Tensor | None  # (B, 1, 1, slots of a cache) -inf at padding, else 0; None: no row is padded

    def step(self, ids: Tensor) -> Tensor:
        """Logits (B, V) behind one more token (B,) of each row."""
        window = self.model.config.context_length
        positions = self.lengths.clamp(max=window - 1)[:, None]  # rows that are done may have left the window
        mask = None if self.padding is None else self.padding[..., : self.caches[0].length + 1]
        with plain_products():  # for `attend`, which leaves so few queries to torch's kernel
            hidden = self.model.hidden(ids[:, None], positions, mask=mask, caches=self.caches)[:, -1]
        self.lengths = self.lengths + 1
        return project(hidden, self.head, None)

    def keep(self, rows: list[int]) -> None:
        """Drop all but these rows, in the caches too."""
        self.lengths = self.lengths[rows]
        self.padding = None if self.padding is None else self.padding[rows]
        for cache in self.caches:
            cache.keep(rows)


def read_rows(model: GPT | Llama, head: Tensor, contexts: list[list[int]], more: int) -> tuple[CachedRows, Tensor]:
    """The contexts in caches with room for so many more tokens, and the logits (B, V) behind them.

    Shorter ones are padded on the left. Padding is a document of its own, so that its states stay finite.
    """
    device, T = model.head.device, max(map(len, contexts))
    ids = torch.tensor([[0] * (T - len(context)) + context for context in contexts], device=device)
    lengths = torch.tensor([len(context) for context in contexts], device=device)
    columns = torch.arange(T, device=device) - (T - lengths[:, None])  # (B, T), negative in the padding
    caches = new_caches(model.config, len(contexts), T + more, model.head)
    mask = padding = None
    if min(map(len, contexts)) < T:
        mask = document_mask(columns >= 0).to(model.head.dtype)
        padding = model.head.new_zeros(len(contexts), 1, 1, T + more)
        padding[:, 0, 0, :T].masked_fill_(columns < 0, -math.inf)
    hidden = model.hidden(ids, columns.clamp(min=0), mask=mask, caches=caches)[:, -1]
    return CachedRows(model, head, caches, lengths, padding), project(hidden, head, None)
