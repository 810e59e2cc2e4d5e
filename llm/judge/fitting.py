"""A judge fitted to labelled answers: each question is judged by weights that saw no answer to it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llm.corpus.truthfulqa import Judged
from llm.judge.features import FEATURES, SURFACE, TELLING, columns, feature_rows, topic_rows
from llm.judge.gate import best_constant, shuffled, truthful
from llm.judge.hallucination import non_answer
from llm.judge.instrument import Floats, Ints, Judge, fold_of, judge_rows, log_odds, question_digest
from llm.judge.surface import fit_logistic
from llm.ranges import check_range
from llm.stats.bootstrap import Resampling, draw_groups
from llm.stats.calibration import (
    Labels,
    balanced_accuracy,
    best_threshold,
    brier,
    calibration_error,
    paired_gap,
    ranked_auroc,
    reliability,
    roc,
    with_interval,
)

Strings = NDArray[np.str_]

MIN_QUESTIONS = 20  # fewer cannot be split and resampled
FREE = 1e-3  # penalty of what is to be fitted as it is; with none at all labels told apart perfectly have no fit
DIGITS = 6  # of a weight: log-odds stay equal to 4


@dataclass(frozen=True)
class JudgeConfig:
    """What the judge is tested on besides, and how it is fitted."""

    data: str | None  # human-judged answers, finetune_truth.jsonl; None: the committed judge is used
    data_sha256: str | None
    questions: str | None  # TruthfulQA.csv
    questions_sha256: str | None
    folds: int  # of the questions, for cross-fitting
    l2: float  # pull of the weights towards 0, beside the summed log-loss
    off_topic: float  # share of the labelled answers that may be taken for beside their question
    bootstrap: int  # resamples of a confidence interval

    def __post_init__(self) -> None:
        check_range("folds", self.folds, 2, 50)
        check_range("l2", self.l2, 1e-6, 10_000)
        check_range("off_topic", self.off_topic, 0, 0.5)
        check_range("bootstrap", self.bootstrap, 100, 10**6)
        if (self.data is None) != (self.questions is None):
            raise ValueError(
                f"data is {self.data} and questions is {self.questions}: give both files "
                "(finetune_truth.jsonl and TruthfulQA.csv) or neither"
            )


@dataclass(frozen=True)
class Sample:
    """Labelled answers as numbers."""

    features: Floats  # (n, n_features)
    false: Labels
    answered: Labels  # whether it is an answer at all
    fold: Ints  # of its question
    question: Strings  # its text

    def column(self, name: str) -> Floats:
        """One feature of all answers."""
        return self.features[:, FEATURES.index(name)]

    def part(self, chosen: Labels) -> "Sample":
        """The chosen answers."""
        return Sample(*(column[chosen] for column in vars(self).values()))


def make_sample(judged: Sequence[Judged], folds: int, seed: int) -> Sample:
    """The answers in numbers."""
    return Sample(
        features=feature_rows([one.question for one in judged], [one.answer for one in judged]),
        false=np.array([one.false for one in judged]),
        answered=np.array([non_answer(one.question.question, one.answer) is None for one in judged]),
        fold=np.array([fold_of(one.question, folds, seed) for one in judged]),
        question=np.array([one.question.question for one in judged]),
    )


def hand_on(judged: Sequence[Judged], folds: int, seed: int) -> list[Judged]:
    """Each answer handed to another question of its fold, so that a fold's pairs hold nothing of another fold."""
    handed = []
    for fold in range(folds):
        members = [one for one in judged if fold_of(one.question, folds, seed) == fold]
        others = [*members[len(members) // 2 :], *members[: len(members) // 2]]
        pairs = zip(members, others, strict=True)
        handed += [replace(one, answer=other.answer) for one, other in pairs if one.question.id != other.question.id]
    return handed


def fit_weights(inputs: Floats, labels: Labels, l2: float) -> Floats:
    """(columns + 1,) weights of a logistic regression, the penalty on columns scaled to a standard deviation of 1."""
    spread = inputs.std(axis=0)
    scale = np.where(spread > 0, spread, 1.0)  # a column that is the same everywhere tells nothing
    weights = fit_logistic(inputs / scale, labels.astype(np.float64), l2)
    return np.append(weights[:-1] / scale, weights[-1])


def cross_fit(inputs: Floats, labels: Labels, fold: Ints, config: JudgeConfig) -> Floats:
    """(folds, columns + 1) weights of each fold, fitted to the answers of all others."""
    return np.stack([fit_weights(inputs[fold != i], labels[fold != i], config.l2) for i in range(config.folds)])


def train_judge(
    labelled: Sequence[Judged],
    elsewhere: Sequence[Judged],
    config: JudgeConfig,
    seed: int,
    provenance: Mapping[str, object],
) -> Judge:
    """The judge fitted to the labelled answers, with its figures on them and on those to TruthfulQA from elsewhere.

    Both are of questions that the weights in use never saw. Raises ValueError for too few questions.
    """
    sample = make_sample(labelled, config.folds, seed)
    judge = fit_judge(labelled, sample, config, seed, {**provenance, "answers": len(labelled)})
    probability = judge_rows(judge, sample.fold, sample.features)
    judge = replace(judge, threshold=round(best_threshold(sample.false, probability), DIGITS))
    figures = {
        "curated": measure(judge, sample, config, seed),
        "truthfulqa": measure(judge, make_sample(elsewhere, config.folds, seed), config, seed),
        "controls": measure_controls(judge, labelled),
        "by_fold": _rates(sample, probability),
        "reliability": reliability(sample.false, probability),
        "roc": {name: roc(sample.false, score) for name, score in _scores(judge, sample, config).items()},
    }
    return replace(judge, figures=_short(figures))


def fit_judge(
    labelled: Sequence[Judged], sample: Sample, config: JudgeConfig, seed: int, provenance: dict[str, Any]
) -> Judge:
    """The weights: of being false by the labels, of taking up the question against the same answers handed on."""
    questions = {one.question.question: one.question for one in labelled}
    if len(questions) < MIN_QUESTIONS:
        raise ValueError(f"a judge needs labelled answers to {MIN_QUESTIONS} questions or more, got {len(questions)}")
    beside = make_sample(hand_on(labelled, config.folds, seed), config.folds, seed)
    fold = np.concatenate([sample.fold, beside.fold])
    topics = topic_rows(np.vstack([sample.features, beside.features]))
    on_topic = np.arange(len(fold)) < len(labelled)
    topic = cross_fit(topics, on_topic, fold, config).round(DIGITS)
    return Judge(
        false=cross_fit(columns(sample.features, TELLING), sample.false, sample.fold, config).round(DIGITS),
        topic=topic,
        off_topic=round(float(np.quantile(log_odds(topic, fold, topics)[on_topic], config.off_topic)), DIGITS),
        threshold=0.5,
        seed=seed,
        labelled=tuple(sorted(map(question_digest, questions.values()))),
        figures={},
        provenance=provenance,
    )


def _short(figures: dict[str, Any]) -> dict[str, Any]:
    """The figures at 4 decimals."""
    return json.loads(json.dumps(figures), parse_float=lambda digits: round(float(digits), 4))


def _scores(judge: Judge, sample: Sample, config: JudgeConfig) -> dict[str, Floats]:
    """The judge and what it has to beat: the training-free contrast, length, and a fit to the surface alone."""
    surface = columns(sample.features, SURFACE)
    return {
        "judge": judge_rows(judge, sample.fold, sample.features),
        "likeness": log_odds(judge.false, sample.fold, columns(sample.features, TELLING)),
        "contrast": -sample.column("f1_contrast"),
        "length": sample.column("n_words"),
        "surface": log_odds(cross_fit(surface, sample.false, sample.fold, config), sample.fold, surface),
    }


def measure(judge: Judge, sample: Sample, config: JudgeConfig, seed: int) -> dict[str, Any]:
    """How good the instrument is on these answers; intervals resample questions.

    `auroc_likeness` is of the log-odds alone, before answers beside their question are set apart. `auroc_surface` is of
    a classifier, cross-fitted to these answers, that sees neither questions nor references.
    """
    scores = _scores(judge, sample, config)
    resampling = _resampling(sample, config, seed)
    curves = {name: ranked_auroc(sample.false, score) for name, score in scores.items()}
    areas = {name: with_interval(curve, resampling) for name, curve in curves.items()}
    answered, probability = sample.part(sample.answered), scores["judge"]
    only = ranked_auroc(answered.false, scores["likeness"][sample.answered])
    return {
        "auroc": areas.pop("judge"),
        **{f"auroc_{name}": area for name, area in areas.items()},
        "auroc_above_contrast": paired_gap(curves["judge"], curves["contrast"], resampling),
        "auroc_likeness_answers_only": with_interval(only, _resampling(answered, config, seed)),
        "balanced_accuracy": balanced_accuracy(sample.false, probability >= judge.threshold),
        "brier": brier(sample.false, probability),
        "calibration_error": calibration_error(sample.false, probability),
        "calibration_slope": calibration_slope(judge, sample),
        "off_topic": float((probability == 1).mean()),
        **_rate(sample.false, probability),
        "questions": len(np.unique(sample.question)),
    }


def calibration_slope(judge: Judge, sample: Sample) -> float:
    """By what the log-odds would have to be multiplied to fit the labels best: below 1 they are too sure (Cox 1958)."""
    margin = log_odds(judge.false, sample.fold, columns(sample.features, TELLING))
    return float(fit_logistic(margin[:, None], sample.false.astype(np.float64), FREE)[0])


def measure_controls(judge: Judge, labelled: Sequence[Judged]) -> dict[str, dict[str, Any]]:
    """Mean probability of being true of the labelled answers, of the best constant answer, and of answers handed on."""
    questions, answers = [one.question for one in labelled], [one.answer for one in labelled]
    rate, false = truthful(judge, questions, answers), np.array([one.false for one in labelled])
    asked = list({question.id: question for question in questions}.values())
    first = {one.question.id: one.answer for one in reversed(labelled)}
    constant = best_constant(judge, asked)
    handed = shuffled(judge, asked, [first[question.id] for question in asked])
    assert constant and handed
    return {
        "labelled_true": {"truthful": float(rate[~false].mean())},
        "labelled_false": {"truthful": float(rate[false].mean())},
        "constant": {"answer": f'"{constant.answer}" to every question', "truthful": constant.truthful},
        "shuffled": {"answer": "a true answer to another question", "truthful": handed.truthful},
    }


def _resampling(sample: Sample, config: JudgeConfig, seed: int) -> Resampling:
    """Draws of whole questions."""
    return draw_groups(sample.question.tolist(), [""] * len(sample.question), config.bootstrap, seed)


def _rates(sample: Sample, probability: Floats) -> dict[str, dict[str, float]]:
    """Predicted and labelled rate of each fold of the answers."""
    folds = sorted(set(sample.fold.tolist()))
    return {str(i): _rate(sample.false[sample.fold == i], probability[sample.fold == i]) for i in folds}


def _rate(false: Labels, probability: Floats) -> dict[str, float]:
    return {"predicted": float(probability.mean()), "judged": float(false.mean()), "answers": len(false)}
