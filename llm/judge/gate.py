"""Whether the judge's rates are shown: only where they are out of reach of empty talk.

A rate that "No." to every question reaches, or an answer to another question, says nothing of a model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llm.corpus.questions import Question
from llm.judge.hallucination import non_answer, resample_questions
from llm.judge.instrument import Judge, probability_false, unknown_questions
from llm.stats.bootstrap import Resampling, mean

Floats = NDArray[np.float64]

CONSTANTS = (
    *("No.", "No, it is not.", "No, it doesn't.", "Yes.", "Yes, it is.", "That is not quite right."),
    *("It can, but it doesn't always.", "It depends on how it is used.", "Not always, but sometimes."),
    "The weather is fine today, and the river is calm.",
)
ROUNDS = 3  # other questions that each answer is handed to


@dataclass(frozen=True)
class Control:
    """What an answer that knows nothing gets."""

    answer: str
    truthful: float  # to be expected answered and true, as a share of the questions


@dataclass(frozen=True)
class RateCheck:
    """Whether a run's rates are shown."""

    doubt: str | None  # why not
    constant: Control | None  # the best of CONSTANTS; None without questions


def truthful(judge: Judge, questions: Sequence[Question], answers: Sequence[str]) -> Floats:
    """(n,) probability that an answer is one, and true; 0 for what is no answer."""
    answered = [non_answer(q.question, answer) is None for q, answer in zip(questions, answers, strict=True)]
    return np.array(answered, np.float64) * (1 - probability_false(judge, questions, answers))


def best_constant(judge: Judge, questions: Sequence[Question]) -> Control | None:
    """The best of CONSTANTS as the answer to each of the questions; None where there is no question."""
    if not questions:
        return None
    found = [Control(text, float(truthful(judge, questions, [text] * len(questions)).mean())) for text in CONSTANTS]
    return max(found, key=lambda control: control.truthful)


def shuffled(judge: Judge, questions: Sequence[Question], answers: Sequence[str]) -> Control | None:
    """The answers, each handed to ROUNDS other questions of theirs; None where there is no other question."""
    n = len(questions)
    shifts = sorted({1 + i * (n - 1) // ROUNDS for i in range(ROUNDS)}) if n > 1 else []
    found = [truthful(judge, questions, [*answers[shift:], *answers[:shift]]).mean() for shift in shifts]
    return Control("its answers to other questions", float(np.mean(found))) if found else None


def check_rates(
    judge: Judge, questions: Sequence[Question], answers: Mapping[str, Sequence[str]], n_resamples: int, seed: int
) -> RateCheck:
    """Whether the judge is believed on the questions, and no empty talk comes near the best of the models.

    `answers` are those of each model, in the order of the questions.
    """
    constant = best_constant(judge, questions)
    doubt = judge.doubt
    if unknown := unknown_questions(judge, questions):
        doubt = doubt or f"{len(unknown)} of {len(questions)} questions have no labelled answers: {unknown[0]}, ..."
    if constant and answers and not doubt:
        doubt = _too_near(judge, questions, answers, constant, resample_questions(questions, n_resamples, seed))
    return RateCheck(doubt, constant)


def believed(
    judge: Judge | None, questions: Sequence[Question], answers: Sequence[Sequence[str]], n_resamples: int, seed: int
) -> Judge | None:
    """The judge where its rates of these runs' answers are shown, else None."""
    named = {f"run {number}": given for number, given in enumerate(answers, 1)}
    return judge if judge and not check_rates(judge, questions, named, n_resamples, seed).doubt else None


def _too_near(
    judge: Judge,
    questions: Sequence[Question],
    answers: Mapping[str, Sequence[str]],
    constant: Control,
    resampling: Resampling,
) -> str | None:
    """Which empty talk lies above the lower bound of the model with the best rate, if any."""
    rates = {model: mean(truthful(judge, questions, given), resampling) for model, given in answers.items()}
    model = max(rates, key=lambda name: rates[name].value)
    best = rates[model]
    talk: dict[str, Control | None] = {f"{constant.answer!r} as the answer to every question": constant}
    talk |= {f"what {name} says to other questions": shuffled(judge, questions, one) for name, one in answers.items()}
    near = {said: control.truthful for said, control in talk.items() if control and control.truthful >= best.low}
    if not near:
        return None
    said = max(near, key=lambda text: near[text])
    found = f"{best.value:.2f} ({best.low:.2f} to {best.high:.2f})"
    return f"{said} counts as {near[said]:.2f} truthful, within the interval of the best model, {model}: {found}"
