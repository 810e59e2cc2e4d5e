"""How the judge does on the very questions that are rated: their references as answers, one of each side left out.

The judge was fitted to other questions than those it rates, so its figures from there may not hold here. References are
written answers whose truth is known; they are harder than models' answers, since the wrong ones are made to look right.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from llm.corpus.questions import Question
from llm.judge.features import FEATURES
from llm.judge.trees import Judge, calibrate, feature_rows, margins
from llm.stats.bootstrap import draw_groups
from llm.stats.calibration import paired_gap, ranked_auroc, with_interval


def reference_answers(questions: Sequence[Question]) -> list[tuple[Question, str, bool]]:
    """(question without both, answer, whether it is false) of a correct and an incorrect reference in turn.

    Both sides lose one reference, or the side of the answer would have fewer to be like. Questions of fewer than two
    correct or incorrect references give none.
    """
    found = []
    for question in questions:
        pairs = zip(question.correct, question.incorrect, strict=False)
        for i, (right, wrong) in enumerate(pairs):
            correct = question.correct[:i] + question.correct[i + 1 :]
            incorrect = question.incorrect[:i] + question.incorrect[i + 1 :]
            if correct and incorrect:
                left = replace(question, correct=correct, incorrect=incorrect)
                found += [(left, right, False), (left, wrong, True)]
    return found


def check_judge(judge: Judge, questions: Sequence[Question], n_resamples: int, seed: int) -> dict[str, Any] | None:
    """AUROC of the judge and of the contrast on the questions' references; None where they have too few."""
    unique = {question.id: question for question in questions}
    rows = reference_answers(list(unique.values()))
    if not rows:
        return None
    features = feature_rows([question for question, _, _ in rows], [answer for _, answer, _ in rows])
    false = np.array([wrong for _, _, wrong in rows])
    probability = calibrate(judge.calibration, margins(judge.trees, features))
    resampling = draw_groups([q.id for q, _, _ in rows], [""] * len(rows), n_resamples, seed)
    ours, floor = (ranked_auroc(false, score) for score in (probability, -features[:, FEATURES.index("f1_contrast")]))
    return {
        "auroc": with_interval(ours, resampling),
        "auroc_contrast": with_interval(floor, resampling),
        "auroc_above_contrast": paired_gap(ours, floor, resampling),
        "predicted": float(probability.mean()),
        "false": float(false.mean()),
        "answers": len(rows),
        "questions": len({question.id for question, _, _ in rows}),
    }
