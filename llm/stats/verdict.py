"""Better, worse, or can't tell: how far a difference between two sides may be believed.

Test items alone see two training runs of one configuration as two different models, which they are. So a claim about
configurations needs several training seeds a side.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llm.stats.bootstrap import Floats

LEVEL = 0.05  # of tests over items: a p-value below it counts, the other side of the 95 % intervals
# Of Welch's test over seeds. At .05 one configuration would differ from itself in just 1 of 20 comparisons, give or
# take chance; here in 2.6 (three seeds a side) to 3.9 (ten) of 100, and 5 spreads are found in 94 (three) of 100.
SEED_LEVEL = 0.04
MIN_SEEDS = 3  # a side, from which the spread between seeds is measured rather than taken from compare.seed_sd
SEED_SPREADS = 2.0  # a gap of fewer seeds is nothing unless it exceeds this many seed_sd
CANT_TELL = "can't tell"
NUMERALS = {1: "one seed", 2: "two seeds"}


@dataclass(frozen=True)
class Evidence:
    """What is known of one difference a - b."""

    a: Sequence[float]  # the figure of each seed
    b: Sequence[float]
    lower_is_better: bool
    items_p: float | None  # of the test over items; None where there are too few of them
    seed_sd: float  # standard deviation between seeds of one configuration, measured elsewhere


def decide(found: Evidence) -> tuple[str, float | None]:
    """The verdict on a, and the p-value of Welch's test where there are seeds enough for it.

    Fewer than three seeds a side: at most "better on these items; one seed", and only where the gap exceeds twice
    `seed_sd`. Three or more: Welch's test on the seeds' figures, and the items must tell the sides apart too.

    >>> decide(Evidence([1.90], [2.00], lower_is_better=True, items_p=0.001, seed_sd=0.01))
    ('better on these items; one seed', None)
    >>> decide(Evidence([1.99], [2.00], lower_is_better=True, items_p=0.001, seed_sd=0.01))[0]
    "can't tell"
    """
    gap, n_seeds = float(np.mean(found.a) - np.mean(found.b)), min(len(found.a), len(found.b))
    word = "better" if (gap < 0) == found.lower_is_better else "worse"
    shown = gap != 0 and found.items_p is not None and found.items_p < LEVEL
    if n_seeds >= MIN_SEEDS:
        p = welch(found.a, found.b)
        return (word if shown and p is not None and p < SEED_LEVEL else CANT_TELL), p
    if not shown or abs(gap) <= SEED_SPREADS * found.seed_sd:
        return CANT_TELL, None
    return f"{word} on these items; {NUMERALS[n_seeds]}", None


def welch(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Two-sided p-value that two groups have one mean, their variances unknown and not equal (Welch 1947).

    None for a group of one, and where neither group varies: nothing is known of the spread then.
    """
    if min(len(a), len(b)) < 2:
        return None
    from scipy.special import stdtr

    parts = [float(np.var(group, ddof=1)) / len(group) for group in (a, b)]
    variance = sum(parts)
    if variance == 0:
        return None
    t = float(np.mean(a) - np.mean(b)) / math.sqrt(variance)
    freedom = variance**2 / sum(part**2 / (len(group) - 1) for part, group in zip(parts, (a, b), strict=True))
    return float(2 * stdtr(freedom, -abs(t)))


def mcnemar(a: Sequence[bool], b: Sequence[bool]) -> float:
    """Two-sided exact p-value that two models answer equally many of the same questions rightly (McNemar 1947).

    Only questions that one has right and the other wrong count: half of them each, if the two are alike.

    >>> mcnemar([True] * 6, [False] * 6)  # 2 / 2**6
    0.03125
    """
    only_a = sum(x and not y for x, y in zip(a, b, strict=True))
    only_b = sum(y and not x for x, y in zip(a, b, strict=True))
    n, least = only_a + only_b, min(only_a, only_b)
    return min(1.0, 2 * sum(math.comb(n, k) for k in range(least + 1)) / 2**n)


def bootstrap_p(resampled: Floats) -> float:
    """Two-sided p-value of a difference from its value in each resample; never 0 (Davison & Hinkley 1997, 4.2).

    One more resample is counted on the far side. Else it is below .05 where the 95 % interval leaves out 0.
    """
    drawn = resampled[~np.isnan(resampled)]
    far = min(np.count_nonzero(drawn <= 0), np.count_nonzero(drawn >= 0))
    return min(1.0, 2 * (float(far) + 1) / (len(drawn) + 1))
