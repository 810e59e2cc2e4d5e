"""Labelled answers to the curated questions, and replies of models that readers labelled without seeing the model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llm.corpus.questions import Question
from llm.corpus.truthfulqa import Judged
from llm.files import parse_json, utf8_lines
from llm.judge.hallucination import non_answer
from llm.judge.instrument import Judge, probability_false
from llm.stats.bootstrap import draw_groups
from llm.stats.calibration import brier, calibration_error, ranked_auroc, with_interval

MIN_REPLIES = 300  # labelled replies from which on the gate holds the judge to them
FALSE_OF = {True: False, False: True}  # by the label, which says whether the reply is true


@dataclass(frozen=True)
class LabelledReply:
    """A model's reply and what readers made of it."""

    model: str
    judged: Judged


def read_labelled(path: Path, questions: Sequence[Question]) -> list[Judged]:
    """The answers of answers.jsonl, in order.

    Raises ValueError naming the line that is no labelled answer to one of the questions.
    """
    by_id = {question.id: question for question in questions}
    found = []
    for number, line in utf8_lines(path):
        try:
            row = parse_json(line)
            if not isinstance(row["false"], bool):
                raise ValueError(f"false is {row['false']!r}, allowed: true, false")
            found.append(Judged(by_id[row["question"]], row["answer"], row["false"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}, line {number}: not a labelled answer: {error!r}; correct the line") from error
    return found


def read_replies(path: Path, questions: Sequence[Question]) -> list[LabelledReply]:
    """The lines {"model": ..., "question": id, "reply": ..., "label": true or false}, in order; null is no label.

    Raises ValueError naming the line that is no labelled reply to one of the questions, and for a file without any.
    """
    by_id = {question.id: question for question in questions}
    found = []
    for number, line in utf8_lines(path):
        try:
            row = parse_json(line)
            if row["label"] is not None:
                judged = Judged(by_id[row["question"]], row["reply"], FALSE_OF[row["label"]])
                found.append(LabelledReply(row["model"], judged))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}, line {number}: not a labelled reply: {error!r}; correct the line") from error
    if not found:
        raise ValueError(f"{path} holds no labelled reply")
    return found


def reply_figures(judge: Judge, replies: Sequence[LabelledReply], n_resamples: int, seed: int) -> dict[str, Any]:
    """How the judge does on the replies: of all, and under `models` of each model; non-answers are left out.

    Without true or without false replies there is no AUROC.
    """
    answered = [one for one in replies if non_answer(one.judged.question.question, one.judged.answer) is None]
    models = sorted({one.model for one in answered})
    parts = {model: [one.judged for one in answered if one.model == model] for model in models}
    of_models = {model: _figures(judge, part, n_resamples, seed) for model, part in parts.items()}
    every = _figures(judge, [one.judged for one in answered], n_resamples, seed)
    return {**every, "non_answers": len(replies) - len(answered), "models": of_models}


def _figures(judge: Judge, judged: Sequence[Judged], n_resamples: int, seed: int) -> dict[str, Any]:
    probability = probability_false(judge, [one.question for one in judged], [one.answer for one in judged])
    false = np.array([one.false for one in judged])
    resampling = draw_groups([one.question.id for one in judged], [""] * len(judged), n_resamples, seed)
    both = bool(false.any() and not false.all())
    return {
        "answers": len(judged),
        "questions": len({one.question.id for one in judged}),
        "judged": float(false.mean()),
        "predicted": float(probability.mean()),
        "auroc": with_interval(ranked_auroc(false, probability), resampling) if both else None,
        "brier": brier(false, probability),
        "calibration_error": calibration_error(false, probability),
        "off_topic": float((probability == 1).mean()),
    }


def with_replies(judge_figures: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """The judge's figures with those on replies, to which the gate holds it from then on.

    Raises ValueError where the replies are too few to decide anything.
    """
    n = found["answers"] + found["non_answers"]
    if n < MIN_REPLIES or found["auroc"] is None:
        raise ValueError(f"the gate needs {MIN_REPLIES} labelled replies, some true and some false: {n}")
    return {**judge_figures, "replies": dict(found)}
