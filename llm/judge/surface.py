"""How far surface alone gets in a multiple choice: a classifier that sees how long, negated or hedged an answer is.

A test whose right answers look different can be passed without knowing anything: on TruthfulQA's 817 questions this
classifier picks the best answer in 63 % (chance 23 %), since correct answers there negate and incorrect ones do not.
What this classifier reaches above chance is what the test gives away.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llm.corpus.normalise import split_words
from llm.corpus.questions import Question
from llm.judge.features import HEDGES, NEGATIONS

Floats = NDArray[np.float64]

NARROW = ("words", "characters", "negations", "hedges", "overlap")
WIDE = (*NARROW, "commas", "digits", "word_length")  # the quiz was balanced by the narrow set and by commas
FOLDS, SHUFFLES = 10, 5
PENALTY = 1.0  # weight of the squared coefficients beside the summed log-loss
NEWTON_STEPS = 25  # of Newton's method, far more than it needs


@dataclass(frozen=True)
class Surface:
    """How often the classifier picks the right answer of a question that it was not fitted to."""

    accuracy: float  # mean over SHUFFLES cross-validations by question
    chance: float


def measure_surface(question: str, answer: str) -> dict[str, float]:
    """Features of an answer, by the names in WIDE.

    >>> measure_surface("What can a model do?", "A model can't see, it counts.")["overlap"]  # model: 1 of 6 words
    0.3333333333333333
    """
    words, asked = split_words(answer), set(split_words(question))
    return {
        "words": len(words),
        "characters": len(answer),
        "negations": sum(word in NEGATIONS for word in words),
        "hedges": sum(word in HEDGES for word in words),
        "overlap": sum(word in asked for word in words) / max(1, len(words)),
        "commas": answer.count(","),
        "digits": sum(character.isdigit() for character in answer),
        "word_length": sum(map(len, words)) / max(1, len(words)),
    }


def _options(question: Question, names: Sequence[str]) -> Floats:
    """(options, 2 features): the best answer first, each feature as distance from the options' mean and as rank."""
    found = [measure_surface(question.question, a) for a in (question.correct[0], *question.incorrect)]
    values = np.array([[row[name] for name in names] for row in found])
    rank = (values[:, None] > values[None]).sum(1) + (values[:, None] == values[None]).sum(1) / 2
    return np.hstack([values - values.mean(0), rank - rank.mean(0)])


def fit_logistic(features: Floats, labels: Floats, l2: float) -> Floats:
    """Coefficients of a logistic regression with L2 penalty, the unpenalised intercept last (Newton's method)."""
    inputs = np.hstack([features, np.ones((len(features), 1))])
    penalty = l2 * np.diag([*np.ones(features.shape[1]), 0.0])
    weights = np.zeros(inputs.shape[1])
    for _ in range(NEWTON_STEPS):
        p = 1 / (1 + np.exp(-inputs @ weights))
        gradient = inputs.T @ (p - labels) + penalty @ weights
        weights -= np.linalg.solve(inputs.T * (p * (1 - p)) @ inputs + penalty, gradient)
    return weights


def classify_surface(questions: Sequence[Question], names: Sequence[str], seed: int) -> Surface:
    """The figure for one set of features: ten folds by question, ties wrong.

    Raises ValueError for fewer than two questions: none would be left to learn from.
    """
    if len(questions) < 2:
        raise ValueError(f"a classifier of answers needs two or more questions, got {len(questions)}")
    options = [_options(question, names) for question in questions]
    every = np.vstack(options)
    scale = every.std(0) + 1e-12
    options = [one / scale for one in options]
    right = 0
    for shuffle in range(SHUFFLES):
        order = list(range(len(options)))
        random.Random(f"{seed}/{shuffle}").shuffle(order)
        for fold in range(FOLDS):
            held = order[fold::FOLDS]
            rest = [options[i] for i in order if i not in set(held)]
            labels = np.concatenate([[1.0, *np.zeros(len(one) - 1)] for one in rest])
            weights = fit_logistic(np.vstack(rest), labels, PENALTY)[:-1]
            scores = [options[i] @ weights for i in held]
            right += sum(int(score[0] > score[1:].max()) for score in scores)
    chance = float(np.mean([1 / len(one) for one in options]))
    return Surface(right / (SHUFFLES * len(options)), chance)


def surface_report(sets: dict[str, Sequence[Question]], seed: int) -> dict[str, dict[str, float]]:
    """For each question set: chance, accuracy by the narrow and by the wide features."""
    report = {}
    for name, questions in sets.items():
        narrow, wide = (classify_surface(questions, names, seed) for names in (NARROW, WIDE))
        report[name] = {"chance": narrow.chance, "accuracy": narrow.accuracy, "accuracy_wide": wide.accuracy}
    return report
