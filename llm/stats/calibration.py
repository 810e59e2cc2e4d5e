"""How well a score tells false answers from true ones, answers of one question resampled together."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llm.stats.bootstrap import PERCENTILES, Resampling

Floats = NDArray[np.float64]
Labels = NDArray[np.bool_]

BINS = 10  # of equal width, for the calibration error (Guo et al. 2017 use 15 on far more items)
ROC_POINTS = 41

Curve = Callable[[Floats], float]  # a figure of items weighted so


def auroc(false: Labels, score: Floats, weights: Floats | None = None) -> float:
    """Probability that a false answer scores above a true one, ties half (Mann & Whitney 1947); nan without both.

    >>> auroc(np.array([True, True, False]), np.array([0.9, 0.5, 0.5]))  # above and level: (1 + 0.5) / 2
    0.75
    """
    return ranked_auroc(false, score)(np.ones(len(false)) if weights is None else weights)


def ranked_auroc(false: Labels, score: Floats) -> Curve:
    """The same for many weightings of the same items, which are sorted once."""
    values, rank = np.unique(score, return_inverse=True)

    def area(weights: Floats) -> float:
        wrong = np.bincount(rank, weights * false, len(values))
        right = np.bincount(rank, weights * ~false, len(values))
        pairs = wrong.sum() * right.sum()
        return float(wrong @ (np.cumsum(right) - right / 2) / pairs) if pairs else float("nan")

    return area


def balanced_accuracy(false: Labels, called: Labels) -> float:
    """Mean of the shares of false answers called false and of true answers called true."""
    return float((called[false].mean() + (~called)[~false].mean()) / 2)


def best_threshold(false: Labels, probability: Floats) -> float:
    """The probability from which calling an answer false gives the best balanced accuracy; midway between two answers'.

    >>> best_threshold(np.array([False, False, True]), np.array([0.1, 0.3, 0.4]))
    0.35
    """
    values, rank = np.unique(probability, return_inverse=True)
    wrong = np.bincount(rank, false, len(values)) / false.sum()
    right = np.bincount(rank, ~false, len(values)) / (~false).sum()
    gain = np.cumsum(right - wrong)[:-1]  # of drawing the line above each value
    best = int(np.argmax(gain))
    return float((values[best] + values[best + 1]) / 2)


def reliability(false: Labels, probability: Floats) -> list[dict[str, float]]:
    """For each tenth of the probabilities that occurs: the mean predicted, the share judged false, the answers."""
    number = np.minimum((probability * BINS).astype(int), BINS - 1)
    rows = []
    for i in range(BINS):
        inside = number == i
        if inside.any():
            predicted, judged = float(probability[inside].mean()), float(false[inside].mean())
            rows.append({"predicted": predicted, "judged": judged, "answers": int(inside.sum())})
    return rows


def calibration_error(false: Labels, probability: Floats) -> float:
    """Expected calibration error: mean distance of predicted and judged rate over the bins, weighted by answers."""
    rows = reliability(false, probability)
    return sum(row["answers"] * abs(row["predicted"] - row["judged"]) for row in rows) / len(false)


def brier(false: Labels, probability: Floats) -> float:
    """Mean squared distance of probability and label (Brier 1950); .25 for one half each time."""
    return float(np.mean((probability - false) ** 2))


def roc(false: Labels, score: Floats) -> list[list[float]]:
    """Points of the curve: [share of true answers called false, share of false ones], from (0, 0) to (1, 1)."""
    order = np.argsort(-score, kind="stable")
    hits = np.concatenate([[0.0], np.cumsum(false[order]) / false.sum()])
    alarms = np.concatenate([[0.0], np.cumsum(~false[order]) / (~false).sum()])
    last = np.append(np.diff(score[order]) != 0, True)  # a threshold cannot part answers of one score
    corners = np.concatenate([[0], 1 + np.flatnonzero(last)])
    shown = corners[np.linspace(0, len(corners) - 1, min(ROC_POINTS, len(corners))).round().astype(int)]
    return [[float(alarms[i]), float(hits[i])] for i in shown]


def with_interval(curve: Curve, resampling: Resampling) -> dict[str, float]:
    """A figure and its 95 % interval."""
    return _interval(curve(np.ones(len(resampling.group))), [curve(w[resampling.group]) for w in resampling.weights])


def paired_gap(one: Curve, other: Curve, resampling: Resampling) -> dict[str, float]:
    """one - other on the same draws, with its 95 % interval."""
    return with_interval(lambda weights: one(weights) - other(weights), resampling)


def _interval(value: float, resampled: Sequence[float]) -> dict[str, Any]:
    low, high = np.nanpercentile(resampled, PERCENTILES)
    return {"value": value, "low": float(low), "high": float(high)}
