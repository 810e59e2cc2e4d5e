import pytest

from llm.corpus.questions import Question
from llm.dialogue import Example
from llm.evaluation.scoring import Score
from llm.evaluation.uncertainty import UNCERTAINTY_MEASURES, ask_uncertainty, uncertainty_figures

QUESTIONS = [Question(f"q{i}", "a", f"What is {i}?", ("one",), ("two",)) for i in range(3)]
ANSWERS = ["abc", "", "é"]


class Halving:
    """Gives every byte one bit."""

    def loglik(self, examples):
        return [Score(-0.6931471805599453 * len(e.reply.encode()), 0.0, 1) for e in examples]


def test_a_model_that_gives_every_byte_one_bit_needs_one_bit_a_byte():
    scores = ask_uncertainty(Halving(), QUESTIONS, ANSWERS)
    values, detail = uncertainty_figures(QUESTIONS, ANSWERS, scores, 100, seed=1)
    assert values == {"own_answers": pytest.approx(1.0)}
    assert detail["own_answers"]["answers"] == 2  # silence has no likelihood


def test_the_model_sees_its_own_question():
    asked = []

    class Listening(Halving):
        def loglik(self, examples):
            asked.extend(examples)
            return super().loglik(examples)

    ask_uncertainty(Listening(), QUESTIONS[:1], ["abc"])
    assert asked == [Example("q0/own", "a", "q0", ("What is 0?",), "abc")]


def test_a_silent_model_has_no_uncertainty():
    values, _ = uncertainty_figures(QUESTIONS, ["", "", ""], [], 100, seed=1)
    assert values == dict.fromkeys(UNCERTAINTY_MEASURES)
