"""Confidence intervals by resampling whole groups (a conversation, a film, a thread), all models on the same draws.

Items of one group resemble each other, so drawing single items would make every interval too narrow (Cameron, Gelbach
& Miller 2008). Sources are strata: each keeps its number of groups in every resample, as the test set was drawn.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

PERCENTILES = (2.5, 97.5)


@dataclass(frozen=True)
class Estimate:
    """A number measured on a test set, its 95 % confidence interval, and its value in each resample."""

    value: float
    low: float
    high: float
    resampled: Floats  # (n_resamples,)


@dataclass(frozen=True)
class Resampling:
    """How often each group is drawn in each resample; made once for a set of items and shared by all models."""

    group: NDArray[np.int64]  # (n_items,) number of the item's group
    weights: Floats  # (n_resamples, n_groups)


def draw_groups(groups: Sequence[str], strata: Sequence[str], n_resamples: int, seed: int) -> Resampling:
    """Resamples of items that belong to these groups (names are read within their stratum).

    Raises ValueError when there are no items.
    """
    if not groups:
        raise ValueError("nothing to resample: there are no items")
    names = sorted(set(zip(strata, groups, strict=True)))
    number = {name: i for i, name in enumerate(names)}
    weights = np.empty((n_resamples, len(names)))
    rng = np.random.default_rng(seed)
    for stratum in sorted(set(strata)):
        members = [i for i, name in enumerate(names) if name[0] == stratum]
        share = np.full(len(members), 1 / len(members))
        weights[:, members] = rng.multinomial(len(members), share, size=n_resamples)
    return Resampling(np.array([number[name] for name in zip(strata, groups, strict=True)]), weights)


def ratio(numerator: ArrayLike, denominator: ArrayLike, resampling: Resampling) -> Estimate:
    """Sum of the items' numerators over the sum of their denominators.

    Raises ValueError when the denominators sum to 0.
    """
    top, bottom = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    if bottom.sum() <= 0:
        raise ValueError(f"a ratio needs a denominator above 0, got {bottom.sum()} over {len(bottom)} items")
    n_groups = resampling.weights.shape[1]
    tops = resampling.weights @ np.bincount(resampling.group, top, n_groups)
    bottoms = resampling.weights @ np.bincount(resampling.group, bottom, n_groups)
    with np.errstate(invalid="ignore", divide="ignore"):  # a resample may draw only groups without denominators
        resampled = tops / bottoms
    return make_estimate(float(top.sum() / bottom.sum()), resampled)


def mean(values: ArrayLike, resampling: Resampling) -> Estimate:
    """Mean over the items: a rate, an F1."""
    return ratio(values, np.ones(len(resampling.group)), resampling)


def transform(estimate: Estimate, function: Callable[[Floats], Floats]) -> Estimate:
    """The estimate of function(value)."""
    return make_estimate(float(function(np.array([estimate.value]))[0]), function(estimate.resampled))


def mean_of(estimates: Sequence[Estimate]) -> Estimate:
    """Unweighted mean of estimates made with one resampling (the macro mean of sources)."""
    return make_estimate(
        float(np.mean([estimate.value for estimate in estimates])),
        np.mean([estimate.resampled for estimate in estimates], axis=0),
    )


def difference(a: Estimate, b: Estimate) -> Estimate:
    """a - b, paired: both made with the same resampling, so what they share cancels. a is lower when high < 0.

    Raises ValueError when the two were not resampled equally often.
    """
    if len(a.resampled) != len(b.resampled):
        raise ValueError(f"not paired: {len(a.resampled)} resamples against {len(b.resampled)}")
    return make_estimate(a.value - b.value, a.resampled - b.resampled)


def make_estimate(value: float, resampled: Floats) -> Estimate:
    """The value with the 95 % interval of its resamples; those in which it is not defined are left out."""
    low, high = np.nanpercentile(resampled, PERCENTILES)
    return Estimate(value, float(low), float(high), resampled)
