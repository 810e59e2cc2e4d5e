import csv
import json

import pytest

from llm.corpus.questions import read_questions
from llm.corpus.truthfulqa import COLUMNS, read_judged, read_truthfulqa

ROW = (
    "Misconceptions",
    "What happens if you  eat seeds?",
    "They pass",
    "Nothing; They pass",
    "You die; You grow a tree",
)
HEAD = ",".join([*COLUMNS, "Source"]).encode() + b"\n"
SKY = ("Science", "Is the sky green?", "No", "It is blue", "Yes")


@pytest.fixture
def questions(tmp_path):
    path = tmp_path / "TruthfulQA.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("Type", *COLUMNS), ("Adversarial", *ROW), ("Adversarial", *SKY)])
    return read_truthfulqa(path)


def write(path, *rows):
    lines = [json.dumps({"prompt": f"Q: {q}\nA: {a}\nTrue:", "completion": label}) for q, a, label in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_question_has_its_best_answer_first_and_once(questions):
    assert [question.question for question in questions] == ["What happens if you eat seeds?", "Is the sky green?"]
    assert questions[0].correct == ("They pass", "Nothing")
    assert questions[0].incorrect == ("You die", "You grow a tree")
    assert questions[0].area == "Misconceptions"
    assert len({question.id for question in questions}) == 2


def test_references_duplicates_and_contradictions_are_left_out(questions, tmp_path):
    seeds = "What happens if you eat seeds?"
    path = write(
        tmp_path / "judged.jsonl",
        (seeds, "They pass.", " yes"),  # a reference
        (seeds, "you get sick", " no"),
        (seeds, "You get sick.", " no"),  # the same again
        (seeds, "Maybe", " no"),
        (seeds, "maybe.", " yes"),  # a contradiction
        (SKY[1], "It is blue in the day", " yes"),
        ("Who?", "I", " no"),  # not one of the questions
    )
    found = read_judged(path, questions)
    assert [(one.answer, one.false) for one in found] == [("you get sick", True), ("It is blue in the day", False)]
    assert found[1].question is questions[1]


@pytest.mark.parametrize(
    "line", ["{", '{"prompt": "Q: a\\nA: b\\nTrue:"}', '{"prompt": "a", "completion": " no"}', "[]"]
)
def test_another_file_is_refused_with_its_line(line, questions, tmp_path):
    path = tmp_path / "judged.jsonl"
    path.write_text(line, encoding="utf-8")
    with pytest.raises(ValueError, match=r"line 1 is no judgement of the form of finetune_truth.jsonl"):
        read_judged(path, questions)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"Question,Answer\nA?,b\n", "it has no column Category, Best Answer"),
        (b"<!DOCTYPE html>\n<html>", "it has no column Category, Question"),
        (b"", "it has no column Category, Question"),
        (HEAD, "it has no question"),
        (HEAD + b'Myths,Is it?,No,No,Yes,x\nMyths,Why?,"So, th', "unexpected end of data"),
        (HEAD + b"Myths,Is it?,No,No,Yes,x\nMyths,Why?,So,Because", "it breaks off in question 2"),
        (HEAD + b"Myths,Is it?,,,Yes,x\n", "question truthfulqa/1 needs one or more correct answers"),
    ],
)
def test_another_file_or_part_of_one_is_refused_in_one_line(content, reason, tmp_path):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(ValueError, match=rf"a\.csv is not a whole TruthfulQA.csv: .*{reason}.*; get it again$"):
        read_truthfulqa(tmp_path / "a.csv")


def test_the_published_files_hold_so_many_answers(real_data):
    questions = read_truthfulqa(real_data / "truth/TruthfulQA.csv")
    judged = read_judged(real_data / "truth/finetune_truth.jsonl", questions)
    assert len(questions) == 817
    assert (len(judged), len({one.question.id for one in judged})) == (12_102, 816)
    assert sum(one.false for one in judged) / len(judged) == pytest.approx(0.571, abs=5e-4)


@pytest.mark.parametrize(
    "read", [read_questions, read_truthfulqa, lambda path: read_judged(path, [])], ids=["questions", "table", "judged"]
)
def test_a_byte_that_is_not_utf8_is_named_with_its_file_and_line(tmp_path, read):
    path = tmp_path / "file"
    path.write_bytes(b"\n\ncaf\xe9 au lait\n")
    with pytest.raises(ValueError, match=r"file, line 3: byte 0xe9 at position 4 is not UTF-8; save the file as UTF-8"):
        read(path)


def test_the_byte_of_a_public_report_is_named_with_its_line(real_data):
    folder = real_data / "reports/R03-byte-not-utf8"
    with pytest.raises(ValueError, match=r"ft.jsonl, line 21: byte 0xe9 "):
        read_judged(folder / "ft.jsonl", read_truthfulqa(folder / "TQ.csv"))
