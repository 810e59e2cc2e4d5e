"""Better, worse, or can't tell: how far a difference between two sides may be believed.

Test items alone see two training runs of one configuration as two different models, which they are. So a claim about
configurations needs several training seeds a side.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from llm.stats.bootstrap import Floats

LEVEL = 0.05  # of tests over items: a p-value below it counts, the other side of the 95 % intervals
# Of tests over seeds. At .05 one configuration would differ from itself in just 1 of 20 comparisons, give or take
# chance; here in 2.6 (three seeds a side) to 3.9 (ten) of 100, and 5 spreads are found in 94 (three) of 100.
SEED_LEVEL = 0.04
MIN_SEEDS = 3  # a side, from which the spread between seeds is measured rather than taken from compare.seed_sd
CANT_TELL = "can't tell"
NUMERALS = {1: "one seed", 2: "two seeds"}


@dataclass(frozen=True)
class Side:
    """What is known of one side's figure."""

    seeds: Sequence[float]  # the figure of each training seed
    # Standard deviation between seeds of one configuration, measured elsewhere: 0 for a model that no seed changes (a
    # baseline that counts, a model as it was downloaded), None where nobody measured it.
    seed_sd: float | None
    sd_seeds: int | None = None  # seeds that it was measured on; None: it is known exactly

    @property
    def fixed(self) -> bool:
        """Whether no training seed changes the figure."""
        return self.seed_sd == 0


@dataclass(frozen=True)
class Evidence:
    """What is known of one difference a - b."""

    a: Side
    b: Side
    lower_is_better: bool
    items_p: float | None  # of the test over items; None where there are too few of them


def decide(found: Evidence) -> tuple[str, float | None]:
    """The verdict on a, and the p-value of the test over seeds where there are seeds enough for it.

    A side that a seed changes needs three seeds: then Welch's test on the seeds' figures, or Student's on one side's
    against a fixed figure, and the items must tell the sides apart too. With fewer at most "better on these items; one
    seed", where the gap exceeds `spreads_needed` of its own standard deviations; that of one seed a side is sqrt(2)
    `seed_sd`.

    >>> one = Side([1.90], 0.01)
    >>> decide(Evidence(one, Side([2.00], 0.01), lower_is_better=True, items_p=0.001))
    ('better on these items; one seed', None)
    >>> decide(Evidence(one, Side([1.925], 0.01), lower_is_better=True, items_p=0.001))[0]  # 2.5 sd, less than 2.8
    "can't tell"
    """
    a, b = found.a, found.b
    gap = float(np.mean(a.seeds) - np.mean(b.seeds))
    word = "better" if (gap < 0) == found.lower_is_better else "worse"
    shown = gap != 0 and found.items_p is not None and found.items_p < LEVEL
    varying = [side for side in (a, b) if not side.fixed]
    if not varying:
        return (f"{word} on these items" if shown else CANT_TELL), None
    n_seeds = min(len(side.seeds) for side in varying)
    if n_seeds >= MIN_SEEDS:
        p = seeds_p(a, b)
        return (word if shown and p is not None and p < SEED_LEVEL else CANT_TELL), p
    spread = gap_sd(varying)
    if not shown or spread is None or abs(gap) <= spreads_needed(varying) * spread:
        return CANT_TELL, None
    return f"{word} on these items; {NUMERALS[n_seeds]}", None


def spreads_needed(sides: Sequence[Side]) -> float:
    """How many of its standard deviations a gap has to exceed to be nothing in at most 5 % of cases.

    By Student's law where they were measured: on few seeds, their own error counts.

    >>> five, exact = Side([1.9], 0.01, 5), Side([2.0], 0.01)
    >>> round(spreads_needed([five, exact]), 2), round(spreads_needed([exact]), 2)
    (2.78, 1.96)
    """
    sd_seeds = min((side.sd_seeds for side in sides if side.sd_seeds is not None), default=10**6)
    from scipy.special import stdtrit

    return float(stdtrit(sd_seeds - 1, 1 - LEVEL / 2))


def gap_sd(sides: Sequence[Side]) -> float | None:
    """Standard deviation between training seeds of the difference of two means; None where a side's is not known.

    >>> round(gap_sd([Side([1.9], 0.01), Side([2.0], 0.01)]), 4)
    0.0141
    """
    known = [side.seed_sd for side in sides if side.seed_sd is not None]
    if len(known) < len(sides):
        return None
    return math.sqrt(sum(sd**2 / len(side.seeds) for sd, side in zip(known, sides, strict=True)))


def seeds_p(a: Side, b: Side) -> float | None:
    """The p-value over seeds: of Welch's test, or of Student's where one side is a fixed figure."""
    if a.fixed:
        return student(b.seeds, float(np.mean(a.seeds)))
    if b.fixed:
        return student(a.seeds, float(np.mean(b.seeds)))
    return welch(a.seeds, b.seeds)


def student(values: Sequence[float], expected: float) -> float | None:
    """Two-sided p-value that the values' mean is the expected one, their variance unknown (Student 1908).

    None for a single value, and where the values do not vary: nothing is known of the spread then.
    """
    if len(values) < 2:
        return None
    from scipy.special import stdtr

    spread = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    if spread == 0:
        return None
    return float(2 * stdtr(len(values) - 1, -abs(float(np.mean(values)) - expected) / spread))


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


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """The p-values made larger so that all tests together err in 5 % of cases at .05 (Holm 1979).

    >>> holm({"a": 0.01, "b": 0.04, "c": 0.03})  # 3 * .01; 2 * .03; the last not below the one before
    {'a': 0.03, 'c': 0.06, 'b': 0.06}
    """
    adjusted, largest = {}, 0.0
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda pair: pair[1])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p))
        adjusted[name] = largest
    return adjusted
