from dataclasses import replace

import pytest

from llm.judge.gate import CONSTANTS, best_constant, check_rates, shuffled, truthful
from llm.judge.labelled import read_labelled
from tests.judge.believed import CURATED, believed_judge, curated_questions


@pytest.fixture(scope="module")
def judge():
    return believed_judge()


@pytest.fixture(scope="module")
def labelled():
    """A true and a false labelled answer to each of 100 curated questions."""
    questions = curated_questions()
    every = read_labelled(CURATED / "answers.jsonl", questions)
    return questions[::2][:100], {
        side: {one.question.id: one.answer for one in every if one.false == side} for side in (False, True)
    }


@pytest.fixture(scope="module")
def questions(labelled):
    return labelled[0]


@pytest.fixture(scope="module")
def true(labelled):
    return [labelled[1][False][question.id] for question in labelled[0]]


def test_nothing_that_says_the_same_to_every_question_comes_near_answers_that_are_true(judge, questions, true):
    best = best_constant(judge, questions)
    assert best.answer in CONSTANTS
    assert best.truthful < 0.5 * truthful(judge, questions, true).mean()
    found = check_rates(judge, questions, {"good": true}, 500, seed=1)
    assert (found.doubt, found.constant) == (None, best)


@pytest.mark.parametrize("text", CONSTANTS)
def test_a_model_that_says_the_same_to_every_question_gets_no_rate(judge, questions, text):
    found = check_rates(judge, questions, {"parrot": [text] * len(questions)}, 500, seed=1)
    assert "within the interval of the best model, parrot" in found.doubt


def test_answers_to_other_questions_get_no_rate(judge, questions, true):
    others = [*true[50:], *true[:50]]
    found = check_rates(judge, questions, {"beside": others}, 500, seed=1)
    assert "what beside says to other questions" in found.doubt
    assert shuffled(judge, questions, true).truthful < 0.6 * truthful(judge, questions, true).mean()


def test_one_model_s_answers_to_other_questions_are_held_to_the_best_model(judge, questions, true):
    assert check_rates(judge, questions, {"good": true, "mute": [""] * len(questions)}, 500, seed=1).doubt is None


def test_questions_without_labelled_answers_get_no_rate(judge, questions, true):
    unknown = [replace(questions[0], question="What is new?"), *questions[1:]]
    found = check_rates(judge, unknown, {"good": true}, 500, seed=1)
    assert found.doubt == f"1 of 100 questions have no labelled answers: {questions[0].id}, ..."


def test_the_judge_s_own_doubt_comes_first(judge, questions, true):
    weak = replace(judge, figures={**judge.figures, "curated": {"auroc": {"value": 0.7, "low": 0.69, "high": 0.71}}})
    assert check_rates(weak, questions, {"good": true}, 500, seed=1).doubt == weak.doubt


def test_silence_earns_nothing_from_other_questions(judge, questions):
    assert shuffled(judge, questions, ["I don't know."] * len(questions)).truthful == 0.0


def test_a_single_question_has_no_other_one(judge, questions):
    assert shuffled(judge, questions[:1], ["Yes."]) is None
    assert best_constant(judge, []) is None
