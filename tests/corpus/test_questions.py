import json

import pytest

from llm.corpus.questions import Question, draw_couples, draw_questions, judgeable, read_pairs, read_questions


def make_question(name, n_incorrect=2):
    return Question(name, "works", f"{name}?", ("yes",), tuple(f"no {i}" for i in range(n_incorrect)))


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


ROW = {"id": "q1", "area": "works", "question": "Why?", "correct": ["a", "b"], "incorrect": ["c"], "explanation": "."}


def test_answers_are_read_in_order_the_best_first(tmp_path):
    (found,) = read_questions(write(tmp_path / "quiz.jsonl", ROW))
    assert found == Question("q1", "works", "Why?", ("a", "b"), ("c",), ".")


def test_every_text_of_a_question_may_give_it_away(tmp_path):
    (found,) = read_questions(write(tmp_path / "quiz.jsonl", {**ROW, "explanation": "It is so."}))
    assert found.texts == ["Why?", "a", "b", "c", "It is so."]
    assert make_question("a", 1).texts == ["a?", "yes", "no 0"]  # no explanation, no empty text


@pytest.mark.parametrize(
    "broken",
    [
        {"id": "q2"},
        {k: v for k, v in ROW.items() if k != "explanation"},
        {**ROW, "correct": []},
        {**ROW, "incorrect": [" "]},
        {**ROW, "incorrect": 3},
        [],
        "text",
    ],
)
def test_a_line_that_is_no_question_is_named(tmp_path, broken):
    with pytest.raises(ValueError, match=r"quiz\.jsonl, line 2: not a question"):
        read_questions(write(tmp_path / "quiz.jsonl", ROW, broken))


def test_a_question_needs_two_incorrect_answers_for_an_answer_in_words():
    assert judgeable([make_question("a", 1), make_question("b")]) == [make_question("b")]


def test_the_draw_does_not_depend_on_what_stands_beside_it():
    many = [make_question(f"q{i}") for i in range(40)]
    drawn = draw_questions(many, 10, seed=1)
    assert len(drawn) == 10
    assert draw_questions(list(reversed(many)), 10, seed=1) == drawn
    assert draw_questions(drawn, 10, seed=1) == drawn
    assert draw_questions(many, 10, seed=2) != drawn
    assert draw_questions(many, None, seed=1)[:10] == drawn
    assert draw_questions(many, 0, seed=1) == []


PAIR = {"area": "works", "true": "It learns.", "false": "It dreams.", "note": "so"}


def test_a_pair_is_a_question_without_words_in_a_couple_with_the_pair_beside_it(tmp_path):
    found = read_pairs(write(tmp_path / "pairs.jsonl", *({**PAIR, "id": f"p{i}"} for i in range(4))))
    assert [(one.id, one.group) for one in found] == [("p0", "p0"), ("p1", "p0"), ("p2", "p2"), ("p3", "p2")]
    assert found[0].texts == ["It learns.", "It dreams.", "so"]


def test_a_broken_pair_is_named_and_one_without_the_other_too(tmp_path):
    with pytest.raises(ValueError, match=r"pairs\.jsonl, line 1: not a pair: KeyError\('id'\)"):
        read_pairs(write(tmp_path / "pairs.jsonl", PAIR))
    with pytest.raises(ValueError, match=r"pairs\.jsonl: p0 has no pair to be crossed with"):
        read_pairs(write(tmp_path / "pairs.jsonl", {**PAIR, "id": "p0"}))


def test_couples_are_drawn_whole_and_keep_their_order():
    pairs = [Question(f"p{i}", "area", "", ("a",), ("b",), couple=f"p{i - i % 2}") for i in range(20)]
    drawn = draw_couples(pairs, 4, seed=1)
    assert len(drawn) == 8 and drawn == [pair for pair in pairs if pair in drawn]
    assert all(a.couple == b.couple == a.id for a, b in zip(drawn[::2], drawn[1::2], strict=True))
    assert draw_couples(pairs, 4, seed=2) != drawn
    assert draw_couples(pairs, None, seed=1) == pairs


def test_a_question_without_a_partner_is_drawn_by_itself():
    premises = [Question(f"q{i}", "area", "why?", ("a",), ("b",)) for i in range(9)]
    assert len(draw_couples(premises, 2, seed=1)) == 2


@pytest.mark.parametrize("line", ["[" * 100_000, json.dumps({**ROW, "question": "\ud83d?"}), '"\xe9'])
@pytest.mark.parametrize("read", [read_questions, read_pairs])
def test_a_line_that_cannot_be_a_question_is_named(tmp_path, read, line):
    (tmp_path / "q.jsonl").write_bytes(line.encode("latin-1"))
    with pytest.raises(ValueError, match=r"q\.jsonl, line 1: "):
        read(tmp_path / "q.jsonl")
