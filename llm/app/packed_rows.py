"""Rows that were read apart, in one cache: so a conversation joins others that are already being replied to.

A row's keys and values end at the right edge; what stands left of a shorter row is padding, which no query sees.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from llm.evaluation import hub_model
from llm.inference import generate
from llm.inference.hub_cache import new_cache
from llm.models.attention import Cache

ROOM = 32  # tokens that fit in behind the longest row before everything is copied again


def pack_own(parts: Sequence[generate.CachedRows]) -> generate.CachedRows:
    """The rows of all parts in one cache of a model trained here, as narrow as the longest row allows, with ROOM."""
    model, lengths = parts[0].model, torch.cat([part.lengths for part in parts])
    held = int(lengths.max())
    caches = []
    for layer in range(model.config.n_layer):
        cache = Cache(model.config, len(lengths), held + ROOM, model.head)
        cache.k[:, :, :held] = _aligned([held_in(part.caches[layer].k, part) for part in parts], held)
        cache.v[:, :, :held] = _aligned([held_in(part.caches[layer].v, part) for part in parts], held)
        cache.length = held
        caches.append(cache)
    padding = None
    if int(lengths.min()) < held:
        columns = torch.arange(held + ROOM, device=lengths.device)
        padding = model.head.new_zeros(len(lengths), 1, 1, held + ROOM)
        padding[:, 0, 0].masked_fill_(columns < held - lengths[:, None], -math.inf)
    return generate.CachedRows(model, parts[0].head, caches, lengths, padding)


def held_in(room: Tensor, rows: generate.CachedRows) -> Tensor:
    """What of a cache's room is filled, (B, heads, S, D)."""
    return room[:, :, : rows.caches[0].length]


def has_room(rows: generate.CachedRows) -> bool:
    """Whether another token of each row fits into the cache."""
    cache = rows.caches[0]
    return cache.length < cache.k.size(2)


def pack_hub(parts: Sequence[hub_model.CachedRows]) -> hub_model.CachedRows:
    """The same of a Hugging Face model."""
    model, last = parts[0].model, torch.cat([part.last for part in parts])
    held = int(last.max()) + 1
    cache = new_cache(model.config)
    for layer in range(len(parts[0].cache.layers)):
        keys = _aligned([part.cache.layers[layer].keys for part in parts], held)
        values = _aligned([part.cache.layers[layer].values for part in parts], held)
        cache.update(keys, values, layer)
    columns = torch.arange(held, device=last.device)
    mask = (columns >= held - 1 - last[:, None]).to(parts[0].mask.dtype)
    return hub_model.CachedRows(model, cache, mask, last)


def _aligned(states: Sequence[Tensor], width: int) -> Tensor:
    """Keys or values (B, heads, S, D) of all parts, cut or filled with zeros on the left to one width."""
    filled = [
        torch.nn.functional.pad(one, (0, 0, width - one.size(2), 0)) if one.size(2) < width else one[:, :, -width:]
        for one in states
    ]
    return torch.cat(filled)
