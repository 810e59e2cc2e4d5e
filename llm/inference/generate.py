"""Replies of the models trained here: many prompts at once, keys and values kept, sampling independent of the batch."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from llm.inference.decoding import Decoding, mark_seen, next_ids
from llm.inference.likelihood import group_by_length
from llm.machine import plain_products
from llm.models.attention import Cache, document_mask, new_caches
from llm.models.gpt import GPT
from llm.models.kernels import project, reorder
from llm.models.layers import reordered_weights
from llm.models.llama import Llama


def prompt_room(context_length: int, max_new_tokens: int) -> int:
    """Tokens a prompt may have: what the reply leaves of the window, at least half of it."""
    return max(context_length - max_new_tokens, context_length - context_length // 2)


def generate(
    model: GPT | Llama,
    prompts: Sequence[Sequence[int]],
    draws: Tensor,
    decoding: Decoding,
    stop: Collection[int],
    batch_tokens: int,
) -> list[list[int]]:
    """Reply ids for each prompt, up to a token in `stop` (left out), `max_new_tokens` or the window's end.

    A prompt longer than `prompt_room` loses its left. `draws` (prompts, max_new_tokens) in [0, 1) decide the sampling.
    A batch holds at most `batch_tokens` keys and values, or one prompt.
    """
    room = prompt_room(model.config.context_length, decoding.max_new_tokens)
    kept = [list(prompt[-room:]) for prompt in prompts]
    replies: list[list[int]] = [[]] * len(kept)
    with reordered_weights(model):
        head = reorder(model.head)
        for batch in group_by_length([len(prompt) + decoding.max_new_tokens for prompt in kept], batch_tokens):
            found = _generate_batch(model, head, [kept[i] for i in batch], draws[batch], decoding, stop)
            for i, reply in zip(batch, found, strict=True):
                replies[i] = reply
    return replies


@dataclass
class Rows:
    """The prompts in the caches, one a row, and what the next step needs of each."""

    numbers: list[int]  # which prompt
    lengths: Tensor  # (B,) tokens of the prompt
    draws: Tensor  # (B, max_new_tokens)
    padding: Tensor | None  # (B, 1, 1, slots of a cache) -inf at padding, else 0; None: no row is padded
    seen: Tensor | None  # (B, vocab_size) tokens under a penalty

    def keep(self, kept: list[int], caches: list[Cache]) -> None:
        """Drop all but the rows at these places, in the caches too."""
        self.numbers = [self.numbers[i] for i in kept]
        self.lengths, self.draws = self.lengths[kept], self.draws[kept]
        self.padding = None if self.padding is None else self.padding[kept]
        self.seen = None if self.seen is None else self.seen[kept]
        for cache in caches:
            cache.keep(kept)


@torch.inference_mode()
def _generate_batch(
    model: GPT | Llama,
    head: Tensor,
    prompts: list[list[int]],
    draws: Tensor,
    decoding: Decoding,
    stop: Collection[int],
) -> list[list[int]]:
    """Reply ids of prompts that share a cache; `head` is the model's, perhaps reordered."""
    window, device = model.config.context_length, model.head.device
    limits = [min(decoding.max_new_tokens, window - len(prompt) + 1) for prompt in prompts]
    slots = max(map(len, prompts)) + max(limits)
    caches = new_caches(model.config, len(prompts), slots, model.head)
    hidden, rows = _read_prompts(model, prompts, draws, decoding, caches, slots)
    stop_ids = torch.tensor(sorted(stop), dtype=torch.long, device=device)
    replies: list[list[int]] = [[] for _ in prompts]
    ended: set[int] = set()
    for step in range(max(limits)):
        chosen = next_ids(project(hidden, head, None), rows.seen, stop_ids, rows.draws[:, step], decoding)
        for number, token in zip(rows.numbers, chosen.tolist(), strict=True):
            if number not in ended and token not in stop:
                replies[number].append(token)
            if token in stop or len(replies[number]) == limits[number]:
                ended.add(number)
        if len(ended) == len(prompts):
            break
        kept = [i for i, number in enumerate(rows.numbers) if number not in ended]
        if 2 * len(kept) <= len(rows.numbers):  # not at once: each time copies the cache
            rows.keep(kept, caches)
            chosen = chosen[kept]
        if rows.seen is not None:
            rows.seen.scatter_(1, chosen[:, None], True)
        positions = (rows.lengths + step).clamp(max=window - 1)[:, None]  # ended rows may have left the window
        mask = None if rows.padding is None else rows.padding[..., : caches[0].length + 1]
        with plain_products():  # for `attend`, which leaves so few queries to torch's kernel
            hidden = model.hidden(chosen[:, None], positions, mask=mask, caches=caches)[:, -1]
    return replies


def _read_prompts(
    model: GPT | Llama, prompts: list[list[int]], draws: Tensor, decoding: Decoding, caches: list[Cache], slots: int
) -> tuple[Tensor, Rows]:
    """Hidden state (B, C) at the end of each prompt, whose keys and values now stand in the caches; and the rows.

    Shorter prompts are padded on the left. Padding is a document of its own, so that its states stay finite.
    """
    device, T = model.head.device, max(map(len, prompts))
    ids = torch.tensor([[0] * (T - len(prompt)) + prompt for prompt in prompts], device=device)
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
    columns = torch.arange(T, device=device) - (T - lengths[:, None])  # (B, T), negative in the padding
    mask = padding = None
    if min(map(len, prompts)) < T:
        mask = document_mask(columns >= 0).to(model.head.dtype)
        padding = model.head.new_zeros(len(prompts), 1, 1, slots)
        padding[:, 0, 0, :T].masked_fill_(columns < 0, -math.inf)
    hidden = model.hidden(ids, columns.clamp(min=0), mask=mask, caches=caches)[:, -1]
    seen = mark_seen(prompts, model.vocab_size).to(device) if decoding.repetition_penalty != 1 else None
    return hidden, Rows(list(range(len(prompts))), lengths, draws.to(device), padding, seen)
