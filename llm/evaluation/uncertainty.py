"""How sure a model is of its own answers: uncertainty, not hallucination, of which it is a sign hardly above chance."""

import math
from collections.abc import Sequence
from typing import Any

from llm.corpus.questions import Question
from llm.dialogue import Example
from llm.evaluation.scoring import Score, Scorer
from llm.stats.bootstrap import draw_groups, ratio

UNCERTAINTY_MEASURES = ("own_answers",)


def own_answers(questions: Sequence[Question], answers: Sequence[str]) -> list[Example]:
    """A model's answers as replies whose likelihood can be asked; empty ones are left out."""
    pairs = zip(questions, answers, strict=True)
    return [Example(f"{q.id}/own", q.area, q.id, (q.question,), answer) for q, answer in pairs if answer]


def ask_uncertainty(model: Scorer, questions: Sequence[Question], answers: Sequence[str]) -> list[Score]:
    """The model's scores of its own answers."""
    return model.loglik(own_answers(questions, answers))


def uncertainty_figures(
    questions: Sequence[Question], answers: Sequence[str], scores: Sequence[Score], n_resamples: int, seed: int
) -> tuple[dict[str, float | None], dict[str, Any]]:
    """`own_answers`: bits the model needs for each byte of what it answered itself, None for silence; and its detail.

    Its mean log-probability, in the unit that can be compared across tokenizers: low for a model that is sure.
    """
    examples = own_answers(questions, answers)
    if not examples:
        return dict.fromkeys(UNCERTAINTY_MEASURES), {"own_answers": None}
    resampling = draw_groups([e.group for e in examples], [e.source for e in examples], n_resamples, seed)
    bits = [-score.logprob / math.log(2) for score in scores]
    found = ratio(bits, [len(example.reply.encode()) for example in examples], resampling)
    detail = {"value": found.value, "low": found.low, "high": found.high, "answers": len(examples)}
    return {"own_answers": found.value}, {"own_answers": detail}
