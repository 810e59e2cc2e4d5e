"""Replies of a Hugging Face model: prompts read in tight batches, then many rows at a time, a token each.

transformers' own `generate` pads all prompts of a batch to the longest and goes on with the rows that have ended. A
step costs the same whatever few rows it has (the weights come from memory), so the rows of several readings share it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from llm.inference.decoding import Decoding, mark_seen, next_ids
from llm.inference.likelihood import group_by_length
from llm.models.attention import document_mask

ROWS_TOGETHER = 4  # batches whose keys and values are kept at once: a step of 100 rows takes half of four steps of 25


@dataclass
class KeysValues:
    """Keys and values (B, heads, slots, head_dim) of each layer, behind the calls of a cache of transformers.

    Prompts end at column `length`, whatever their own length is; replies stand behind it.
    """

    n_rows: int
    slots: int
    length: int  # columns that are filled
    rows: list[int] | None = None  # which rows a reading fills; None: all rows get a token
    layers: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """What the queries of this layer look at; the new keys and values are kept."""
        if layer == len(self.layers):
            room = (self.n_rows, keys.size(1), self.slots)
            self.layers.append((keys.new_zeros(*room, keys.size(3)), values.new_zeros(*room, values.size(3))))
        T = keys.size(2)
        for kept, new in zip(self.layers[layer], (keys, values), strict=True):
            if self.rows is None:
                kept[:, :, self.length : self.length + T] = new
            else:
                kept[self.rows, :, self.length - T : self.length] = new
        if self.rows is not None:
            return keys, values
        k, v = (kept[:, :, : self.length + T] for kept in self.layers[layer])
        return k, v

    def get_seq_length(self, *_: object) -> int:
        """Columns that are filled."""
        return self.length

    def keep(self, rows: list[int]) -> None:
        """Drop all other rows."""
        self.layers = [(k[rows], v[rows]) for k, v in self.layers]


def generate_ids(
    model: Any, prompts: Sequence[list[int]], draws: Tensor, decoding: Decoding, end: int, batch_tokens: int
) -> list[list[int]]:
    """Reply ids to each prompt, up to `end` (left out) or `max_new_tokens`.

    A forward pass reads at most `batch_tokens` of the prompts, or one.
    """
    replies: list[list[int]] = [[]] * len(prompts)
    lengths = [len(prompt) + decoding.max_new_tokens for prompt in prompts]
    for batch in group_by_length(lengths, ROWS_TOGETHER * batch_tokens):
        found = _generate_batch(model, [prompts[i] for i in batch], draws[batch], decoding, end, batch_tokens)
        for i, reply in zip(batch, found, strict=True):
            replies[i] = reply
    return replies


@torch.inference_mode()
def _generate_batch(
    model: Any, prompts: list[list[int]], draws: Tensor, decoding: Decoding, end: int, batch_tokens: int
) -> list[list[int]]:
    head, device, T = model.get_output_embeddings(), model.device, max(map(len, prompts))
    kept = KeysValues(len(prompts), T + decoding.max_new_tokens, T)
    hidden = _read_prompts(model, prompts, kept, batch_tokens)
    kept.rows = None
    padding = _padding(prompts, kept.slots, hidden)
    seen = mark_seen(prompts, head.weight.size(0)).to(device) if decoding.repetition_penalty != 1 else None
    lengths, draws = torch.tensor([len(prompt) for prompt in prompts], device=device), draws.to(device)
    stop, replies, numbers = torch.tensor([end], device=device), [list[int]() for _ in prompts], [*range(len(prompts))]
    for step in range(decoding.max_new_tokens):
        chosen = next_ids(head(hidden), seen, stop, draws[:, step], decoding)
        for number, token in zip(numbers, chosen.tolist(), strict=True):
            if end not in replies[number]:
                replies[number].append(token)
        going = [i for i, number in enumerate(numbers) if end not in replies[number]]
        if not going or step + 1 == decoding.max_new_tokens:
            break
        if 4 * len(going) <= 3 * len(numbers):  # not at once: each time copies keys and values
            kept.keep(going)
            numbers = [numbers[i] for i in going]
            chosen, lengths, draws, padding = chosen[going], lengths[going], draws[going], padding[going]
            seen = None if seen is None else seen[going]
        if seen is not None:
            seen.scatter_(1, chosen[:, None], True)
        mask = padding[..., : kept.length + 1]
        hidden = _hidden(model, chosen[:, None], (lengths + step)[:, None], mask, kept)
        kept.length += 1
    return [reply[:-1] if reply[-1:] == [end] else reply for reply in replies]


def _read_prompts(model: Any, prompts: list[list[int]], kept: KeysValues, batch_tokens: int) -> Tensor:
    """Hidden state (B, C) at the end of each prompt, whose keys and values are kept.

    Prompts about as long are read together, padded on the left. Padding is a document of its own, its states finite.
    """
    hidden: dict[int, Tensor] = {}
    for kept.rows in group_by_length([len(prompt) for prompt in prompts], batch_tokens):
        T = max(len(prompts[i]) for i in kept.rows)
        ids = torch.tensor([[0] * (T - len(prompts[i])) + prompts[i] for i in kept.rows], device=model.device)
        lengths = torch.tensor([len(prompts[i]) for i in kept.rows], device=model.device)
        columns = torch.arange(T, device=model.device) - (T - lengths[:, None])  # (B, T), negative in the padding
        mask = document_mask(columns >= 0).to(model.dtype)
        hidden |= zip(kept.rows, _hidden(model, ids, columns.clamp(min=0), mask, kept), strict=True)
    return torch.stack([hidden[i] for i in range(len(prompts))])


def _padding(prompts: list[list[int]], slots: int, like: Tensor) -> Tensor:
    """Additive mask (B, 1, 1, slots): -inf left of each prompt."""
    T = max(map(len, prompts))
    padding = like.new_zeros(len(prompts), 1, 1, slots)
    for row, prompt in zip(padding, prompts, strict=True):
        row[..., : T - len(prompt)] = -torch.inf
    return padding


def _hidden(model: Any, ids: Tensor, positions: Tensor, mask: Tensor, kept: KeysValues) -> Tensor:
    """Last hidden state (B, C) of the last column."""
    output = model.base_model(
        input_ids=ids, position_ids=positions, attention_mask=mask, past_key_values=kept, use_cache=True
    )
    return output.last_hidden_state[:, -1].contiguous()
