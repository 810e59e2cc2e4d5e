"""The hallucination judge as it is used: weights of likenesses to known answers, and how far they are to be believed.

The weights come in folds: those of a fold were fitted without the questions that belong to it, so a question is never
judged by what its own labelled answers taught.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llm.corpus.questions import Question
from llm.corpus.split import position
from llm.files import json_bytes, write_bytes
from llm.judge.features import TELLING, columns, feature_rows, topic_rows

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FILE = "judge.json"
# The gate: from this lower bound of its AUROC on, on answers to the very questions that it rates, a judge is believed.
RELIABLE = 0.70


@dataclass(frozen=True)
class Judge:
    """What tells how likely an answer is false, or beside its question."""

    false: Floats  # (folds, len(TELLING) + 1) weights of the log-odds of being false; the last one stands alone
    topic: Floats  # (folds, columns of topic_rows + 1) weights of the log-odds of taking up the question
    off_topic: float  # log-odds of taking up the question below which an answer is beside it
    threshold: float  # probability of being false from which an answer is called false; one for all models
    seed: int  # of the folds
    labelled: tuple[str, ...]  # digests of the questions whose labelled answers its figures are of
    figures: dict[str, Any]  # how good the instrument is, and on what
    provenance: dict[str, Any]  # what it was fitted to

    @property
    def doubt(self) -> str | None:
        """Why it is not to be believed; None where it told true from false well enough on questions it never saw."""
        for name, on in (("curated", "labelled answers to these questions"), ("replies", "labelled replies of models")):
            area = self.figures.get(name, {}).get("auroc")
            if area and area["low"] < RELIABLE:
                bounds = f"{area['value']:.2f} ({area['low']:.2f} to {area['high']:.2f})"
                return f"the judge's AUROC on {on} is {bounds}: the lower bound is below {RELIABLE:.2f}"
        controls = self.figures["controls"]
        for name in ("constant", "shuffled"):
            if controls[name]["truthful"] >= controls["labelled_false"]["truthful"]:
                return f"{controls[name]['answer']} looks as true to the judge as answers that are labelled false"
        return None


def fold_of(question: Question, n_folds: int, seed: int) -> int:
    """The fold that a question belongs to, by hash of its text: equal wherever it is asked."""
    return int(position(question.question, seed) * n_folds)


def question_digest(question: Question) -> str:
    """8 hexadecimal digits of a question with its references."""
    texts = json.dumps([question.question, question.correct, question.incorrect])
    return hashlib.sha256(texts.encode()).hexdigest()[:8]


def log_odds(weights: Floats, folds: Ints, inputs: Floats) -> Floats:
    """(n,) of (n, n_columns), each row by the weights of its fold."""
    chosen = weights[folds]
    return (inputs * chosen[:, :-1]).sum(axis=1) + chosen[:, -1]


def sigmoid(x: Floats) -> Floats:
    """Probability of log-odds."""
    return 1 / (1 + np.exp(-x))


def judge_rows(judge: Judge, folds: Ints, features: Floats) -> Floats:
    """(n,) probability of being false of (n, n_features), the fold of each row's question beside it; 1 off topic."""
    probability = sigmoid(log_odds(judge.false, folds, columns(features, TELLING)))
    beside = log_odds(judge.topic, folds, topic_rows(features)) < judge.off_topic
    return np.where(beside, 1.0, probability)


def probability_false(judge: Judge, questions: Sequence[Question], answers: Sequence[str]) -> Floats:
    """(n,) probability of being false or beside the question of one answer to each; meant for what is an answer."""
    folds = np.array([fold_of(question, len(judge.false), judge.seed) for question in questions], np.int64)
    return judge_rows(judge, folds, feature_rows(questions, answers))


def unknown_questions(judge: Judge, questions: Sequence[Question]) -> list[str]:
    """Ids of the questions without labelled answers, for which the judge's figures do not speak."""
    known = set(judge.labelled)
    return [question.id for question in questions if question_digest(question) not in known]


def save_judge(folder: Path, judge: Judge) -> None:
    """Write judge.json."""
    arrays = {"false": judge.false.tolist(), "topic": judge.topic.tolist()}
    write_bytes(folder / FILE, json_bytes({**vars(judge), **arrays, "features": TELLING}))


def load_judge(folder: Path) -> Judge:
    """The judge of a folder.

    Raises ValueError when it was fitted to other features than this code computes, FileNotFoundError if it is missing.
    """
    path = folder / FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: run `dvc repro train_judge`")
    content = json.loads(path.read_text(encoding="utf-8"))
    if tuple(content.pop("features", ())) != TELLING:
        raise ValueError(f"{path} judges by other features than this version computes: fit it anew (judge.data)")
    arrays = {name: np.array(content[name], np.float64) for name in ("false", "topic")}
    return Judge(**{**content, **arrays, "labelled": tuple(content["labelled"])})
