"""The hallucination judge as it is used: gradient-boosted trees held in arrays, calibrated, with its own figures.

Nothing of scikit-learn is needed to judge: llm.judge.fitting fits the trees, this module walks them.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llm.corpus.questions import Question
from llm.files import write_bytes
from llm.judge.features import FEATURES, answer_features

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FILE = "judge.json"
RELIABLE = 0.65  # AUROC on unseen questions below which a judge is not believed and gives no rate


@dataclass(frozen=True)
class Trees:
    """The nodes of all trees one after the other; a leaf is its own child and holds what it adds to the margin."""

    roots: Ints  # (n_trees,) number of each tree's first node
    feature: Ints  # (n_nodes,)
    threshold: Floats  # a value up to it goes left
    left: Ints
    right: Ints
    value: Floats
    depth: int  # steps from a root to the farthest leaf
    baseline: float  # margin before the first tree


@dataclass(frozen=True)
class Calibration:
    """From a margin to a probability: a logistic curve, then straight lines between knots where there are any."""

    name: str  # none, platt or isotonic
    slope: float
    intercept: float
    knots: tuple[float, ...]
    heights: tuple[float, ...]


@dataclass(frozen=True)
class Judge:
    """What tells how likely an answer is false."""

    trees: Trees
    calibration: Calibration
    threshold: float  # probability of being false from which an answer is called false; one for all models
    figures: dict[str, Any]  # how good the instrument is, and on what
    provenance: dict[str, Any]  # what it was fitted to

    @property
    def reliable(self) -> bool:
        """Whether it told true from false well enough on questions it never saw."""
        return bool(self.figures["unseen"]["auroc"]["value"] >= RELIABLE)


def margins(trees: Trees, features: Floats) -> Floats:
    """(n,) log-odds of being false, before calibration, of (n, n_features)."""
    rows = np.arange(len(features))[:, None]
    node = np.broadcast_to(trees.roots, (len(features), len(trees.roots)))
    for _ in range(trees.depth):
        goes_left = features[rows, trees.feature[node]] <= trees.threshold[node]
        node = np.where(goes_left, trees.left[node], trees.right[node])
    return trees.baseline + trees.value[node].sum(axis=1)


def calibrate(calibration: Calibration, margin: Floats) -> Floats:
    """(n,) probabilities of being false."""
    probability = 1 / (1 + np.exp(-(calibration.slope * margin + calibration.intercept)))
    return np.interp(probability, calibration.knots, calibration.heights) if calibration.knots else probability


def feature_rows(questions: Sequence[Question], answers: Sequence[str]) -> Floats:
    """(n, n_features) of one answer to each question."""
    rows = [
        list(answer_features(q.question, answer, q.correct, q.incorrect).values())
        for q, answer in zip(questions, answers, strict=True)
    ]
    return np.array(rows, np.float64).reshape(len(rows), len(FEATURES))


def probability_false(judge: Judge, questions: Sequence[Question], answers: Sequence[str]) -> Floats:
    """(n,) calibrated probability of being false of one answer to each question; meant for answers that are answers."""
    return calibrate(judge.calibration, margins(judge.trees, feature_rows(questions, answers)))


def save_judge(folder: Path, judge: Judge) -> None:
    """Write judge.json: numbers and names only, an array in each line."""
    content = {
        "features": FEATURES,
        "trees": {name: np.asarray(value).tolist() for name, value in vars(judge.trees).items()},
        "calibration": vars(judge.calibration),
        "threshold": judge.threshold,
        "figures": judge.figures,
        "provenance": judge.provenance,
    }
    text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
    text = re.sub(r"\[[^][{}]*\]", lambda array: re.sub(r"\n\s*", "", array[0]), text)
    write_bytes(folder / FILE, f"{text}\n".encode())


def load_judge(folder: Path) -> Judge:
    """The judge of a folder.

    Raises ValueError when it was fitted to other features than this code computes, FileNotFoundError if it is missing.
    """
    path = folder / FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: run `dvc repro train_judge`")
    content = json.loads(path.read_text(encoding="utf-8"))
    if tuple(content["features"]) != FEATURES:
        raise ValueError(f"{path} judges by other features than this version computes: fit it anew (judge.data)")
    trees, calibration = content["trees"], content["calibration"]
    curve = {**calibration, **{name: tuple(calibration[name]) for name in ("knots", "heights")}}
    return Judge(
        trees=Trees(
            roots=np.array(trees["roots"], np.int64),
            feature=np.array(trees["feature"], np.int64),
            threshold=np.array(trees["threshold"], np.float64),
            left=np.array(trees["left"], np.int64),
            right=np.array(trees["right"], np.int64),
            value=np.array(trees["value"], np.float64),
            depth=trees["depth"],
            baseline=trees["baseline"],
        ),
        calibration=Calibration(**curve),
        threshold=content["threshold"],
        figures=content["figures"],
        provenance=content["provenance"],
    )
