import math

import numpy as np
import pytest

from llm.corpus.questions import Question
from llm.evaluation.choice import choice_estimates, choice_examples, grade
from llm.evaluation.scoring import Score

TWO_RIGHT = Question("q1", "works", "Why?", ("aa", "bb"), ("cccc", "dd"))
ONE_RIGHT = Question("q2", "use", "How?", ("aa",), ("bb", "cc", "dd"))


def scores(*logprobs):
    return [Score(logprob, -1.0, 1) for logprob in logprobs]


def grade_one(question, *logprobs, section="choice"):
    return grade(section, [question], scores(*logprobs))[0]


def make_pairs(n, area="works"):
    """Couples of pairs."""
    return [Question(f"p{i}", area, "", (f"true {i}",), (f"false {i}",), couple=f"p{i - i % 2}") for i in range(n)]


def test_every_answer_is_scored_as_a_reply_to_the_question():
    examples = choice_examples([TWO_RIGHT])
    assert [example.reply for example in examples] == ["aa", "bb", "cccc", "dd"]
    assert {example.history for example in examples} == {("Why?",)}
    assert len({example.id for example in examples}) == 4


def test_a_statement_is_scored_as_a_whole_as_a_document_is():
    examples = choice_examples(make_pairs(1))
    assert [(example.history, example.reply) for example in examples] == [((), "true 0"), ((), "false 0")]


def test_the_best_answer_must_beat_every_incorrect_one():
    assert grade_one(TWO_RIGHT, -2, -1, -3, -4)["mc1"] == 1.0  # another correct answer may be likelier
    assert grade_one(TWO_RIGHT, -2, -1, -3, -1.5)["mc1"] == 0.0


def test_a_tie_is_wrong():
    assert grade_one(ONE_RIGHT, -2, -2, -3, -4)["mc1"] == 0.0
    assert grade_one(ONE_RIGHT, -2, -2, -2, -2)["mc1_per_byte"] == 0.0


def test_per_byte_a_long_answer_is_not_punished_for_its_length():
    row = grade_one(TWO_RIGHT, -4, -9, -6, -9)  # per byte -2 against -1.5
    assert (row["mc1"], row["mc1_per_byte"]) == (1.0, 0.0)


def test_mc2_is_the_share_of_probability_on_correct_answers():
    assert grade_one(TWO_RIGHT, *map(math.log, (0.1, 0.3, 0.4, 0.2)))["mc2"] == pytest.approx(0.4)
    assert grade_one(TWO_RIGHT, -5000, -5001, -6000, -6000)["mc2"] == pytest.approx(1.0)  # no underflow


def test_accuracy_by_area_with_the_chance_line():
    questions = [TWO_RIGHT, ONE_RIGHT]
    grades = grade("choice", questions, scores(-1, -1, -2, -2, -3, -2, -1, -1))
    found = choice_estimates("choice", questions, grades, 100, seed=1)
    assert {area: row["mc1"].value for area, row in found.items()} == {"all": 0.5, "use": 0.0, "works": 1.0}
    assert found["all"]["chance"].value == pytest.approx((1 / 3 + 1 / 4) / 2)


def test_a_pair_is_told_apart_when_its_true_statement_is_likelier_and_a_tie_counts_half():
    grades = grade("literacy", make_pairs(4), scores(-20, -21, -22, -21, -20, -20 * (1 + 1e-12), -3, -4))
    assert [one["accuracy"] for one in grades] == [1.0, 0.0, 0.5, 1.0]
    assert [one["ties"] for one in grades] == [0.0, 0.0, 1.0, 0.0]
    assert {one["chance"] for one in grades} == {0.5}


def test_a_couple_is_known_when_both_of_its_pairs_are_and_a_tie_is_not_known():
    grades = grade("literacy", make_pairs(6), scores(-1, -2, -1, -2, -1, -2, -3, -2, -1, -2, -2, -2))
    assert [one["couples_both"] for one in grades] == [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]


def test_what_prefers_a_word_wherever_it_stands_is_at_chance_without_an_interval_to_speak_of():
    """In a couple such a model is right once and wrong once: couples as a whole are drawn, so every resample has .5."""
    grades = grade("literacy", make_pairs(80), scores(*[-1, -2, -2, -1] * 40))
    found = choice_estimates("literacy", make_pairs(80), grades, 200, seed=1)["all"]
    assert (found["accuracy"].value, found["accuracy"].low, found["accuracy"].high) == (0.5, 0.5, 0.5)
    assert found["couples_both"].value == 0.0


def test_areas_are_strata_of_the_pairs():
    """One area all right, one all wrong: with areas held fixed every resample has .5."""
    pairs = make_pairs(40) + [Question(f"u{i}", "use", "", ("a",), ("b",), couple=f"u{i - i % 2}") for i in range(40)]
    grades = grade("literacy", pairs, scores(*[-1, -2] * 40, *[-2, -1] * 40))
    found = choice_estimates("literacy", pairs, grades, 200, seed=1)
    assert (found["all"]["accuracy"].low, found["all"]["accuracy"].high) == (0.5, 0.5)
    assert (found["works"]["accuracy"].value, found["use"]["accuracy"].value) == (1.0, 0.0)


def test_of_a_false_premise_the_share_of_pairs_counts_that_the_correction_wins_per_byte():
    # per byte -1, -2 (the corrections) against -1.5, -1 (a tie with the first is wrong): one of four pairs is won
    assert grade_one(TWO_RIGHT, -2, -4, -6, -2, section="premises") == {"accuracy": 0.25, "chance": 0.5}


def test_noise_is_at_chance_on_premises_however_many_answers_they_have():
    rng = np.random.default_rng(1)
    premises = [Question(f"f{i}", "use", "Why?", ("aa", "bb"), ("cc", "dd", "ee")) for i in range(400)]
    grades = grade("premises", premises, scores(*rng.normal(-20, 3, 5 * 400)))
    found = choice_estimates("premises", premises, grades, 500, seed=1)["all"]
    assert found["accuracy"].low < 0.5 < found["accuracy"].high
    # of a pair won or lost the variance is 1/4; of 6 pairs that share answers, 7 of 36 * 1/2 * ...: measured, not above
    assert found["accuracy"].high - found["accuracy"].low < 2 * 1.96 * math.sqrt(0.25 / 400)
