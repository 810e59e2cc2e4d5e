import math

import pytest

from llm.corpus.questions import Question
from llm.evaluation.choice import choice_estimates, choice_examples, grade
from llm.evaluation.scoring import Score

TWO_RIGHT = Question("q1", "works", "Why?", ("aa", "bb"), ("cccc", "dd"))
ONE_RIGHT = Question("q2", "use", "How?", ("aa",), ("bb", "cc", "dd"))


def scores(*logprobs):
    return [Score(logprob, -1.0, 1) for logprob in logprobs]


def test_every_answer_is_scored_as_a_reply_to_the_question():
    examples = choice_examples([TWO_RIGHT])
    assert [example.reply for example in examples] == ["aa", "bb", "cccc", "dd"]
    assert {example.history for example in examples} == {("Why?",)}
    assert len({example.id for example in examples}) == 4


def test_the_best_answer_must_beat_every_incorrect_one():
    assert grade([TWO_RIGHT], scores(-2, -1, -3, -4))[0].mc1 == 1.0  # another correct answer may be likelier
    assert grade([TWO_RIGHT], scores(-2, -1, -3, -1.5))[0].mc1 == 0.0


def test_a_tie_is_wrong():
    assert grade([ONE_RIGHT], scores(-2, -2, -3, -4))[0].mc1 == 0.0
    assert grade([ONE_RIGHT], scores(-2, -2, -2, -2))[0].mc1_per_byte == 0.0


def test_per_byte_a_long_answer_is_not_punished_for_its_length():
    row = grade([TWO_RIGHT], scores(-4, -9, -6, -9))[0]  # per byte -2 against -1.5
    assert (row.mc1, row.mc1_per_byte) == (1.0, 0.0)


def test_mc2_is_the_share_of_probability_on_correct_answers():
    row = grade([TWO_RIGHT], scores(*map(math.log, (0.1, 0.3, 0.4, 0.2))))[0]
    assert row.mc2 == pytest.approx(0.4)
    assert grade([TWO_RIGHT], scores(-5000, -5001, -6000, -6000))[0].mc2 == pytest.approx(1.0)  # no underflow


def test_accuracy_by_area_with_the_chance_line():
    questions = [TWO_RIGHT, ONE_RIGHT]
    grades = grade(questions, scores(-1, -1, -2, -2, -3, -2, -1, -1))
    found = choice_estimates(questions, grades, [q.area for q in questions], 100, seed=1)
    assert {area: row["mc1"].value for area, row in found.items()} == {"all": 0.5, "use": 0.0, "works": 1.0}
    assert found["all"]["chance"].value == pytest.approx((1 / 3 + 1 / 4) / 2)
