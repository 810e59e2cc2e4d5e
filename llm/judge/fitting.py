"""A judge fitted to human-judged answers: boosted trees, calibrated on answers that their trees never saw."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from llm.corpus.split import position
from llm.corpus.truthfulqa import Judged
from llm.judge.features import FEATURES, direction
from llm.judge.hallucination import non_answer
from llm.judge.trees import Calibration, Floats, Ints, Judge, Trees, calibrate, feature_rows, margins
from llm.ranges import check_range
from llm.stats.bootstrap import Resampling, draw_groups
from llm.stats.calibration import (
    Labels,
    balanced_accuracy,
    best_threshold,
    calibration_error,
    paired_gap,
    ranked_auroc,
    reliability,
    roc,
    with_interval,
)

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingClassifier

Strings = NDArray[np.str_]

IDENTITY = Calibration("none", 1.0, 0.0, (), ())
LONG_ANSWER = 15  # words, of the toy rule
MIN_QUESTIONS = 20  # fewer cannot be split, cross-validated and resampled


@dataclass(frozen=True)
class JudgeConfig:
    """What the judge is fitted to, and how."""

    data: str | None  # human-judged answers, finetune_truth.jsonl; None: the committed judge is used
    data_sha256: str | None
    questions: str | None  # TruthfulQA.csv
    questions_sha256: str | None
    unseen: float  # share of the questions that no tree sees
    folds: int  # of the questions, for cross-validation
    trees: int
    leaves: int  # of a tree at most
    min_leaf: int  # answers in a leaf at least
    learning_rate: float
    l2: float
    bootstrap: int  # resamples of a confidence interval

    def __post_init__(self) -> None:
        check_range("unseen", self.unseen, 0.05, 0.5)
        check_range("folds", self.folds, 2, 50)
        check_range("trees", self.trees, 1, 10_000)
        check_range("leaves", self.leaves, 2, 1000)
        check_range("min_leaf", self.min_leaf, 1, 10_000)
        check_range("learning_rate", self.learning_rate, 1e-4, 1)
        check_range("l2", self.l2, 0, 1000)
        check_range("bootstrap", self.bootstrap, 100, 10**6)
        if (self.data is None) != (self.questions is None):
            raise ValueError(
                f"data is {self.data} and questions is {self.questions}: give both files "
                "(finetune_truth.jsonl and TruthfulQA.csv) or neither"
            )


@dataclass(frozen=True)
class Sample:
    """Judged answers as numbers."""

    features: Floats  # (n, n_features)
    false: Labels
    answered: Labels  # whether it is an answer at all
    style: Strings  # how it is written
    place: Floats  # of its question by hash, 0 to 1: by it questions are split

    def part(self, chosen: Labels) -> "Sample":
        """The chosen answers."""
        return Sample(*(column[chosen] for column in vars(self).values()))

    def fold(self, n: int) -> Ints:
        """Number of each answer's fold, all answers to a question in one."""
        return np.unique(self.place, return_inverse=True)[1] % n

    def column(self, name: str) -> Floats:
        """One feature of all answers."""
        return self.features[:, FEATURES.index(name)]


def make_sample(judged: Sequence[Judged], seed: int) -> Sample:
    """The answers in numbers.

    Raises ValueError for fewer questions than can be split.
    """
    places = {one.question.question: position(one.question.question, seed) for one in judged}
    if len(places) < MIN_QUESTIONS:
        raise ValueError(f"a judge needs judged answers to {MIN_QUESTIONS} questions or more, got {len(places)}")
    kinds = [non_answer(one.question.question, one.answer) for one in judged]
    return Sample(
        features=feature_rows([one.question for one in judged], [one.answer for one in judged]),
        false=np.array([one.false for one in judged]),
        answered=np.array([kind is None for kind in kinds]),
        style=np.array(
            [style(one.answer) if kind is None else "no answer" for one, kind in zip(judged, kinds, strict=True)]
        ),
        place=np.array([places[one.question.question] for one in judged]),
    )


def style(answer: str) -> str:
    """How an answer is written, which differs between the models that wrote them (the file does not name those).

    >>> style("gwyneth paltrow"), style("It is."), style("It is. It is"), style("It was the")
    ('lower case', 'one sentence', 'several sentences', 'unfinished')
    """
    text = answer.strip()
    if text[:1].islower():
        return "lower case"
    if re.search(r"[.!?]\s", text):
        return "several sentences"
    return "one sentence" if text.endswith((".", "!", "?")) else "unfinished"


def fit_trees(sample: Sample, config: JudgeConfig) -> "HistGradientBoostingClassifier":
    """Boosted trees (Friedman 2001; histograms as in LightGBM), never against the direction of a feature.

    By one thread: several wait for one another thousands of times. 60 trees on 20,000 answers take .10 s by one and by
    two, the same trees; beside a busy program .10 and .50.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    model = HistGradientBoostingClassifier(
        max_iter=config.trees,
        max_leaf_nodes=config.leaves,
        min_samples_leaf=config.min_leaf,
        learning_rate=config.learning_rate,
        l2_regularization=config.l2,
        monotonic_cst=[direction(name) for name in FEATURES],
        early_stopping=False,
    )
    with threadpool_limits(limits=1, user_api="openmp"):
        return model.fit(sample.features, sample.false)


def read_trees(model: "HistGradientBoostingClassifier") -> Trees:
    """The nodes of a fitted classifier; scikit-learn shows them in no public way."""
    nodes = [tree.nodes for (tree,) in model._predictors]
    starts = np.cumsum([0, *map(len, nodes)])
    joined, first = np.concatenate(nodes), np.repeat(starts[:-1], np.diff(starts))
    leaf, own = joined["is_leaf"].astype(bool), np.arange(len(joined))
    return Trees(
        roots=starts[:-1],
        feature=np.where(leaf, 0, joined["feature_idx"]).astype(np.int64),
        threshold=np.where(leaf, 0.0, joined["num_threshold"]),
        left=np.where(leaf, own, first + joined["left"]),
        right=np.where(leaf, own, first + joined["right"]),
        value=np.where(leaf, joined["value"], 0.0),
        depth=int(joined["depth"].max()),
        baseline=float(model._baseline_prediction.item()),
    )


def cross_fit(sample: Sample, config: JudgeConfig) -> Floats:
    """(n,) margin of each answer by trees that saw no answer to its question."""
    fold, margin = sample.fold(config.folds), np.empty(len(sample.false))
    for i in tqdm(range(config.folds), unit="fold", desc="judge", mininterval=1.0):
        margin[fold == i] = fit_trees(sample.part(fold != i), config).decision_function(sample.features[fold == i])
    return margin


def platt(margin: Floats, false: Labels) -> Calibration:
    """A logistic curve over the margin (Platt 1999)."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=np.inf).fit(margin[:, None], false)
    return Calibration("platt", float(model.coef_.item()), float(model.intercept_.item()), (), ())


def isotonic(margin: Floats, false: Labels) -> Calibration:
    """The non-decreasing curve of least squares (Zadrozny & Elkan 2002)."""
    from sklearn.isotonic import IsotonicRegression

    model = IsotonicRegression(out_of_bounds="clip").fit(calibrate(IDENTITY, margin), false)
    knots, heights = (tuple(map(float, x)) for x in (model.X_thresholds_, model.y_thresholds_))
    return Calibration("isotonic", 1.0, 0.0, knots, heights)


CALIBRATIONS: Mapping[str, Callable[[Floats, Labels], Calibration]] = {
    "none": lambda margin, false: IDENTITY,
    "platt": platt,
    "isotonic": isotonic,
}


def cross_calibrate(name: str, margin: Floats, sample: Sample, config: JudgeConfig) -> Floats:
    """(n,) probability of each answer by a calibration that saw no answer to its question."""
    fold, probability = sample.fold(config.folds), np.empty(len(margin))
    for i in range(config.folds):
        fitted = CALIBRATIONS[name](margin[fold != i], sample.false[fold != i])
        probability[fold == i] = calibrate(fitted, margin[fold == i])
    return probability


def train_judge(judged: Sequence[Judged], config: JudgeConfig, seed: int, provenance: Mapping[str, object]) -> Judge:
    """The judge fitted to the questions that are not kept unseen, with its figures on all and on the unseen ones.

    Calibration and threshold are taken from answers of the seen part as trees judge them that did not see them.
    """
    sample = make_sample(judged, seed)
    seen, unseen = sample.part(sample.place >= config.unseen), sample.part(sample.place < config.unseen)
    margin = cross_fit(seen, config)
    tried = {name: cross_calibrate(name, margin, seen, config) for name in CALIBRATIONS}
    errors = {name: calibration_error(seen.false, probability) for name, probability in tried.items()}
    best = min(errors, key=lambda name: errors[name])
    trees, calibration = read_trees(fit_trees(seen, config)), CALIBRATIONS[best](margin, seen.false)
    threshold = best_threshold(seen.false, tried[best])
    crossed = cross_calibrate(best, cross_fit(sample, config), sample, config)
    figures = {
        "cross_validated": measure(sample, crossed, threshold, config, seed),
        "unseen": measure(unseen, calibrate(calibration, margins(trees, unseen.features)), threshold, config, seed),
        "calibration_errors_tried": errors,
        "by_style": _rates(sample, crossed, sample.style),
        "by_fold": _rates(sample, crossed, sample.fold(config.folds).astype(str)),
        "reliability": reliability(sample.false, crossed),
        "roc": {name: roc(sample.false, score) for name, score in _scores(sample, crossed).items()},
    }
    return Judge(trees, calibration, threshold, _short(figures), {**provenance, "answers": len(judged)})


def _short(figures: dict[str, Any]) -> dict[str, Any]:
    """The figures at 4 decimals."""
    return json.loads(json.dumps(figures), parse_float=lambda digits: round(float(digits), 4))


def _scores(sample: Sample, probability: Floats) -> dict[str, Floats]:
    """The judge and what it has to beat: the training-free contrast, the length, and a toy rule.

    The toy rule suspects an answer that hedges or speaks in absolutes, and one that is long.
    """
    loud = sample.column("hedges") + sample.column("absolutes")
    return {
        "judge": probability,
        "contrast": -sample.column("f1_contrast"),
        "length": sample.column("n_words"),
        "keywords": (loud > 0) + 1.0 * (sample.column("n_words") > LONG_ANSWER),
    }


def measure(sample: Sample, probability: Floats, threshold: float, config: JudgeConfig, seed: int) -> dict[str, Any]:
    """How good the instrument is on these answers; intervals resample questions."""
    resampling = _resampling(sample, config, seed)
    curves = {name: ranked_auroc(sample.false, score) for name, score in _scores(sample, probability).items()}
    areas = {name: with_interval(curve, resampling) for name, curve in curves.items()}
    answered = sample.part(sample.answered)
    only = ranked_auroc(answered.false, probability[sample.answered])
    return {
        "auroc": areas.pop("judge"),
        **{f"auroc_{name}": area for name, area in areas.items()},
        "auroc_above_contrast": paired_gap(curves["judge"], curves["contrast"], resampling),
        "auroc_answers_only": with_interval(only, _resampling(answered, config, seed)),
        "balanced_accuracy": balanced_accuracy(sample.false, probability >= threshold),
        "calibration_error": calibration_error(sample.false, probability),
        **_rate(sample.false, probability),
        "questions": len(np.unique(sample.place)),
    }


def _resampling(sample: Sample, config: JudgeConfig, seed: int) -> Resampling:
    """Draws of whole questions."""
    return draw_groups([repr(place) for place in sample.place], [""] * len(sample.place), config.bootstrap, seed)


def _rates(sample: Sample, probability: Floats, part: Strings) -> dict[str, dict[str, float]]:
    """Predicted and judged rate of each part of the answers."""
    return {name: _rate(sample.false[part == name], probability[part == name]) for name in sorted(set(part.tolist()))}


def _rate(false: Labels, probability: Floats) -> dict[str, float]:
    return {"predicted": float(probability.mean()), "judged": float(false.mean()), "answers": len(false)}
