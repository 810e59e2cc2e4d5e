"""What a model remembers word by word: the exposure of planted canaries (Carlini et al. 2019, section 4.2).

exposure = log2 |R| - log2 rank, in bits: a canary is ranked by its likelihood among |R| numbers, itself and random ones
that were never shown. Without memory every rank is equally likely, which gives log2 e = 1.44 on average; the most is
log2 |R|, for one more likely than all others.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llm.dialogue import Example
from llm.evaluation.scoring import Score, Scorer
from llm.stats.bootstrap import Estimate, draw_groups, ratio
from llm.tokens.canaries import PROMPT, REPEATS, Canary

MEMORY_MEASURES = tuple(f"exposure_{n}" for n in REPEATS)


@dataclass(frozen=True)
class Planted:
    """The canaries of the training tokens, and the numbers they are ranked among."""

    canaries: list[Canary]
    alternatives: list[str]


def canary_examples(planted: Planted) -> list[Example]:
    """Every canary and then every alternative as a reply to the one prompt."""
    replies = [*(canary.reply for canary in planted.canaries), *planted.alternatives]
    return [Example(f"canary/{i}", "canary", f"canary{i}", (PROMPT,), reply) for i, reply in enumerate(replies)]


def ask_memory(model: Scorer, planted: Planted) -> list[Score] | None:
    """The model's scores of canary_examples, None when nothing was planted."""
    return model.loglik(canary_examples(planted)) if planted.canaries else None


def ranks(planted: Planted, scores: Sequence[Score]) -> list[int]:
    """Place of each canary among itself and the alternatives, 1 for the likeliest; a tie counts against it."""
    n = len(planted.canaries)
    others = np.sort([score.logprob for score in scores[n:]])
    at_least = len(others) - np.searchsorted(others, [score.logprob for score in scores[:n]], side="left")
    return [1 + int(count) for count in at_least]


def exposure_bits(rank: int, size: int) -> float:
    """Bits that a rank among `size` numbers gives away.

    >>> exposure_bits(1, 1024), exposure_bits(1024, 1024)
    (10.0, 0.0)
    """
    return math.log2(size) - math.log2(rank)


def memory_figures(
    planted: Planted, scores: Sequence[Score] | None, n_resamples: int, seed: int
) -> tuple[dict[str, float | None], dict[str, Any]]:
    """Mean exposure of the canaries of each number of repetitions, and its detail; None without canaries or scores."""
    if scores is None or not planted.canaries:
        return dict.fromkeys(MEMORY_MEASURES), {}
    size, places = 1 + len(planted.alternatives), ranks(planted, scores)
    bits = [exposure_bits(rank, size) for rank in places]
    repeats = [canary.repeats for canary in planted.canaries]
    resampling = draw_groups([c.reply for c in planted.canaries], list(map(str, repeats)), n_resamples, seed)
    means: dict[str, Estimate] = {}
    for n in REPEATS:
        inside = np.array([float(repeat == n) for repeat in repeats])
        means[f"exposure_{n}"] = ratio(np.array(bits) * inside, inside, resampling)
    detail = {
        "by_chance": math.log2(math.e),
        "most": math.log2(size),
        "ranks": {f"exposure_{n}": [r for r, m in zip(places, repeats, strict=True) if m == n] for n in REPEATS},
        **{name: {"value": e.value, "low": e.low, "high": e.high} for name, e in means.items()},
    }
    return {name: estimate.value for name, estimate in means.items()}, detail
