"""Perplexity and bits per byte of scored replies: in all, per source, and the mean over sources."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from llm.dialogue import Example
from llm.evaluation.scoring import Score
from llm.stats.bootstrap import Estimate, Floats, Resampling, draw_groups, mean_of, ratio, transform


def resample_examples(examples: Sequence[Example], n_resamples: int, seed: int) -> Resampling:
    """Resamples of the examples' groups, the sources kept at their sizes; the same for every model."""
    return draw_groups([e.group for e in examples], [e.source for e in examples], n_resamples, seed)


def small_figures(examples: Sequence[Example], min_groups: int) -> list[str]:
    """Sources of fewer groups than that, `macro` with them, and `all` where there are fewer in all.

    They get no confidence interval: whole groups are resampled, and of 3, 5 or 10 groups the 95 % interval covers the
    truth in 74, 83 or 88 % of cases.
    """
    groups = {(example.source, example.group) for example in examples}
    counts = Counter(source for source, _ in groups)
    small = sorted(source for source, count in counts.items() if count < min_groups)
    return [*small, *(["macro"] if small else []), *(["all"] if len(groups) < min_groups else [])]


def perplexity(examples: Sequence[Example], scores: Sequence[Score], resampling: Resampling) -> dict[str, Estimate]:
    """exp(total NLL / total tokens) of replies and their end tokens, under `all`, `macro` and each source's name.

    Only comparable between models that share a tokenizer.
    """
    nll = np.array([-score.logprob - score.end_logprob for score in scores])
    tokens = np.array([score.n_tokens + 1.0 for score in scores])
    per_token = _by_source(examples, nll, tokens, resampling)
    with np.errstate(over="ignore", invalid="ignore"):  # of more than 709 nats a token: infinity
        return _with_macro({name: transform(estimate, np.exp) for name, estimate in per_token.items()})


def bits_per_byte(examples: Sequence[Example], scores: Sequence[Score], resampling: Resampling) -> dict[str, Estimate]:
    """Bits a model needs for each UTF-8 byte of the replies, end tokens left out; the same keys as `perplexity`.

    Comparable between any two models: the bytes are the same for all.
    """
    nats = np.array([-score.logprob for score in scores])
    n_bytes = np.array([float(len(example.reply.encode())) for example in examples])
    return _with_macro(_by_source(examples, nats, math.log(2) * n_bytes, resampling))


def _by_source(
    examples: Sequence[Example], numerator: Floats, denominator: Floats, resampling: Resampling
) -> dict[str, Estimate]:
    """Ratio of sums over all examples and over each source's."""
    if not len(examples) == len(numerator) == len(resampling.group):
        raise ValueError(f"{len(examples)} examples, {len(numerator)} scores, {len(resampling.group)} resampled items")
    sources = np.array([example.source for example in examples])
    estimates = {"all": ratio(numerator, denominator, resampling)}
    for source in sorted(set(sources.tolist())):
        inside = sources == source
        estimates[source] = ratio(numerator * inside, denominator * inside, resampling)
    return estimates


def _with_macro(estimates: dict[str, Estimate]) -> dict[str, Estimate]:
    return {**estimates, "macro": mean_of([estimates[name] for name in estimates if name != "all"])}
