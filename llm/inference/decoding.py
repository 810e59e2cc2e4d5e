"""How the next token is chosen from logits: one rule for every model, whatever batch it runs in."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from llm.ranges import check_range

SORTED = 1024  # tokens, of which the top_p are looked for first: to sort all 49,152 of SmolLM2 takes 37 ms for 24 rows


@dataclass(frozen=True)
class Decoding:
    """How replies are generated."""

    max_reply_bytes: int  # of text, UTF-8: the same for all models, whatever their tokens
    temperature: float  # 0: the most likely token each time (greedy)
    top_k: int  # only the k most likely tokens; 0: all
    top_p: float  # only the most likely tokens that together reach this probability (Holtzman et al. 2020); 1: all
    repetition_penalty: float  # logits of tokens already there are weakened by this (Keskar et al. 2019); 1: not
    seed: int

    def __post_init__(self) -> None:
        check_range("max_reply_bytes", self.max_reply_bytes, 1, 1_000_000)
        check_range("temperature", self.temperature, 0.0, 100.0)
        check_range("top_k", self.top_k, 0, 10_000_000)
        check_range("top_p", self.top_p, 1e-6, 1.0)
        check_range("repetition_penalty", self.repetition_penalty, 0.01, 100.0)


def item_draws(histories: Sequence[Sequence[str]], decoding: Decoding, n_greedy: int = 0) -> Tensor:
    """Numbers in [0, 1) that sampling uses up, (items, tokens): a function of the seed and the item's text.

    So an item's sample depends on nothing else in the list, and all models draw alike. There is one for each token that
    a reply can have, whose text has a byte at least, and for one more, which tells that it goes on behind the cap.
    Those of the first `n_greedy` items are 0, which draws the likeliest token.
    """
    draws = torch.zeros(len(histories), decoding.max_reply_bytes + 1)
    for i, history in islice(enumerate(histories), n_greedy, None):
        text = "\0".join([str(decoding.seed), *history])
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little", signed=True)
        draws[i] = torch.rand(decoding.max_reply_bytes + 1, generator=torch.Generator().manual_seed(seed))
    return draws


def mark_seen(prompts: Sequence[Sequence[int]], vocab_size: int) -> Tensor:
    """Whether a token stands in a prompt, (B, vocab_size): what a repetition penalty applies to at the start."""
    seen = torch.zeros(len(prompts), vocab_size, dtype=torch.bool)
    for i, prompt in enumerate(prompts):
        seen[i, list(prompt)] = True
    return seen


def next_ids(logits: Tensor, seen: Tensor | None, stop: Tensor, draws: Tensor, decoding: Decoding) -> Tensor:
    """The next token of each row, (B,).

    logits (B, V); `seen` (B, V) tells which tokens are penalised, None: no penalty; tokens in `stop` never are, or
    replies would not end; `draws` (B,) in [0, 1) decide the sampling: 0 draws the likeliest token.
    """
    logits = logits.float()
    if seen is not None:
        logits = _penalise(logits, seen.index_fill(1, stop, False), decoding.repetition_penalty)
    chosen = logits.argmax(1)
    drawn = draws > 0
    if decoding.temperature > 0 and drawn.any():
        chosen[drawn] = _sample(logits[drawn] / decoding.temperature, draws[drawn], decoding)
    return chosen


def _penalise(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Logits of seen tokens divided by the penalty, negative ones multiplied."""
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def _most_likely(probabilities: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """The most likely tokens of each row, the likeliest first, and their ids: as many as reach `top_p`, or all."""
    for n in (min(SORTED, probabilities.size(1)), probabilities.size(1)):
        found, ids = probabilities.topk(n, dim=1)
        if bool((found.sum(1) > top_p).all()):
            break
    return found, ids


def _sample(logits: Tensor, draws: Tensor, decoding: Decoding) -> Tensor:
    """Tokens whose share of the kept probability covers the draw."""
    if decoding.top_k:
        logits, ids = logits.topk(min(decoding.top_k, logits.size(1)), dim=1)  # the most likely first
        probabilities = logits.softmax(1)
    else:
        probabilities, ids = _most_likely(logits.softmax(1), decoding.top_p)
    before = probabilities.cumsum(1) - probabilities
    probabilities = probabilities.masked_fill(before >= decoding.top_p, 0.0)
    cumulative = probabilities.cumsum(1)
    chosen = (cumulative <= draws[:, None] * cumulative[:, -1:]).sum(1)
    last_kept = (probabilities > 0).sum(1) - 1
    return ids.gather(1, torch.minimum(chosen, last_kept)[:, None]).squeeze(1)
