import random

import numpy as np
import pytest

from llm.corpus.questions import Question, read_questions
from llm.judge.surface import NARROW, WIDE, classify_surface, fit_logistic, measure_surface, surface_report


def questions(correct, incorrect, n=60):
    """Questions whose answers are drawn from two lists of words."""
    rng = random.Random(1)

    def answer(words):
        return " ".join(rng.choices(words, k=rng.randint(4, 9)))

    return [
        Question(f"q{i}", "a", "what is it?", (answer(correct),), tuple(answer(incorrect) for _ in range(3)))
        for i in range(n)
    ]


WORDS = ["red", "blue", "green", "grey"]


def test_answers_that_differ_by_chance_give_chance():
    found = classify_surface(questions(WORDS, WORDS, n=300), NARROW, seed=1)
    assert found.chance == 0.25
    assert found.accuracy == pytest.approx(0.25, abs=0.06)  # two standard errors of 300 questions: 5 points


def test_a_negation_in_every_wrong_answer_gives_the_right_one_away():
    assert classify_surface(questions(WORDS, [*WORDS, "not", "never"]), NARROW, seed=1).accuracy > 0.8


def test_options_that_look_the_same_are_wrong():
    same = [Question(f"q{i}", "a", "?", ("one two",), ("two one", "one one")) for i in range(20)]
    assert classify_surface(same, NARROW, seed=1).accuracy == 0.0


def test_features_are_those_of_the_surface():
    found = measure_surface("Can a model see?", "A model may see 2 cats, but not dogs.")
    expected = {"words": 9, "characters": 37, "negations": 1, "hedges": 1, "overlap": 3 / 9, "commas": 1, "digits": 1}
    assert found == {**expected, "word_length": 27 / 9}  # a model may see 2 cats but not dogs
    assert tuple(found) == WIDE


def test_coefficients_equal_those_of_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(1)
    inputs = rng.normal(size=(80, 3))
    labels = (inputs @ [1.0, -2.0, 0.0] + rng.normal(size=80) > 0.5).astype(float)
    theirs = LogisticRegression(C=1.0, tol=1e-10, max_iter=1000).fit(inputs, labels)
    expected = [*theirs.coef_[0], theirs.intercept_[0]]
    assert fit_logistic(inputs, labels, 1.0) == pytest.approx(expected, abs=1e-6)


def test_one_question_is_too_few():
    with pytest.raises(ValueError, match="two or more questions, got 1"):
        classify_surface(questions(WORDS, WORDS, n=1), NARROW, seed=1)


def test_surface_alone_gets_at_most_35_percent_of_the_quiz(repository):
    for seed in (1, 2, 3):
        quiz = read_questions(repository / "data/curated/quiz.jsonl")
        found = surface_report({"quiz": quiz}, seed)["quiz"]
        assert found["chance"] == 0.25
        assert max(found["accuracy"], found["accuracy_wide"]) <= 0.35
