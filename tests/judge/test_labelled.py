import json

import pytest

from llm.corpus.questions import read_questions
from llm.judge.instrument import FILE, load_judge, save_judge
from llm.judge.labelled import MIN_REPLIES, read_labelled, read_replies, reply_figures, with_replies
from stages.judge_replies import main


@pytest.fixture(scope="module")
def questions(pytestconfig):
    return read_questions(pytestconfig.rootpath / "data/curated/quiz.jsonl")


@pytest.fixture(scope="module")
def rows(pytestconfig, questions):
    """The labelled answers of 60 questions as if two models had given them, and a reply that is none."""
    every = read_labelled(
        pytestconfig.rootpath / "data/curated/answers.jsonl",
        [*questions, *read_questions(pytestconfig.rootpath / "data/curated/false_premise.jsonl")],
    )
    found = [
        {"model": ("scratch", "base")[i % 2], "question": one.question.id, "reply": one.answer, "label": not one.false}
        for i, one in enumerate(every[:400])
    ]
    return [*found, {"model": "base", "question": "quiz-001", "reply": "I don't know.", "label": True}]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_replies_show_how_good_the_judge_is_on_each_model(tmp_path, repository, questions, rows):
    judge = load_judge(repository / "data/judge")
    found = reply_figures(judge, read_replies(write(tmp_path / "r.jsonl", rows), questions), 100, seed=1)
    assert (found["answers"], found["non_answers"]) == (400, 1)
    assert found["judged"] == pytest.approx(0.5, abs=0.01)
    assert found["auroc"]["low"] < found["auroc"]["value"] < found["auroc"]["high"]
    assert found["auroc"]["value"] > 0.6  # a true label is a true reply
    assert {name: one["answers"] for name, one in found["models"].items()} == {"base": 200, "scratch": 200}


@pytest.mark.parametrize("change", [{"question": "quiz-999"}, {"label": "maybe"}, {"reply": None, "label": []}])
def test_a_line_that_is_no_labelled_reply_is_named(tmp_path, questions, rows, change):
    path = write(tmp_path / "r.jsonl", [rows[0], {**rows[1], **change}])
    with pytest.raises(ValueError, match=r"r.jsonl, line 2: not a labelled reply"):
        read_replies(path, questions)


def test_an_answer_whose_label_is_no_boolean_is_named(tmp_path, questions):
    path = write(tmp_path / "a.jsonl", [{"question": "quiz-001", "answer": "It is.", "false": "no"}])
    with pytest.raises(ValueError, match=r"a.jsonl, line 1: not a labelled answer: .*allowed: true, false"):
        read_labelled(path, questions)


def test_few_replies_are_not_recorded(repository, questions, tmp_path, rows):
    judge = load_judge(repository / "data/judge")
    found = reply_figures(judge, read_replies(write(tmp_path / "r.jsonl", rows[:100]), questions), 100, seed=1)
    with pytest.raises(ValueError, match=f"needs {MIN_REPLIES} labelled replies"):
        with_replies(judge.figures, found)


def test_recorded_replies_hold_the_judge_from_then_on(tmp_path, repository, monkeypatch, capsys, rows):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/curated").symlink_to(repository / "data/curated")
    save_judge(tmp_path / "data/judge", load_judge(repository / "data/judge"))
    turned = [{**row, "label": not row["label"]} for row in rows]
    path = str(write(tmp_path / "r.jsonl", turned))
    before = (tmp_path / "data/judge" / FILE).read_bytes()
    main([path])
    assert (tmp_path / "data/judge" / FILE).read_bytes() == before
    main([path, "--record"])
    assert "no rate: the judge's AUROC on labelled replies of models is 0." in capsys.readouterr().out
    assert "labelled replies of models" in load_judge(tmp_path / "data/judge").doubt
