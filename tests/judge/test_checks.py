import pytest

from llm.corpus.questions import Question, read_questions
from llm.judge.checks import check_judge, reference_answers
from llm.judge.trees import load_judge

SKY = Question("q", "a", "Is the sky green?", ("No", "It is blue"), ("Yes", "It is green", "Red"))


def test_both_sides_lose_one_reference():
    rows = reference_answers([SKY])
    assert [(answer, false) for _, answer, false in rows] == [
        ("No", False), ("Yes", True), ("It is blue", False), ("It is green", True)
    ]  # fmt: skip
    assert [(q.correct, q.incorrect) for q, _, _ in rows[::2]] == [
        (("It is blue",), ("It is green", "Red")),
        (("No",), ("Yes", "Red")),
    ]
    assert all(answer not in q.correct + q.incorrect for q, answer, _ in rows)


def test_questions_of_one_correct_reference_check_nothing(repository):
    lone = Question("q", "a", "Is it?", ("No",), ("Yes", "Maybe"))
    assert check_judge(load_judge(repository / "data/judge"), [lone], 100, seed=1) is None


def test_the_curated_references_show_what_the_judge_is_worth_there(repository):
    questions = [
        q for name in ("quiz", "false_premise") for q in read_questions(repository / f"data/curated/{name}.jsonl")
    ]
    found = check_judge(load_judge(repository / "data/judge"), [*questions, *questions], 200, seed=1)
    assert (found["questions"], found["false"]) == (len(questions), 0.5)
    assert found["auroc"]["low"] > 0.5  # better than chance, and no better than the contrast: the README says so
    assert found["auroc_above_contrast"]["value"] == pytest.approx(
        found["auroc"]["value"] - found["auroc_contrast"]["value"]
    )
