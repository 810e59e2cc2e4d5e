import json
from dataclasses import replace

import pytest

from llm.corpus.questions import Question
from llm.dialogue import Dialogue
from llm.evaluation.evaluate import Likelihoods, Texts
from llm.evaluation.scoring import Score
from llm.evaluation.testset import Asked
from llm.runs.records import index_items, read_rows, restore, score_rows, text_rows, to_lines

DIALOGUES = [Dialogue(f"d{i}", "eli5", f"g{i}", (f"why {i}?", f"for {i} reasons", "which?", "many")) for i in range(3)]
QUIZ = [Question(f"q{i}", "area", f"what is {i}?", (f"{i}", f"the {i}"), ("no", "never")) for i in range(2)]
TRUTHFULQA = [Question("truthfulqa/7", "Myths", "do cats bark?", ("no",), ("yes", "at night"))]
ITEMS = index_items(DIALOGUES, QUIZ + TRUTHFULQA)
EXAMPLES = [ITEMS.example(name, 100) for name in ("d0/1", "d0/3", "d2/3")]
ASKED = Asked(EXAMPLES, EXAMPLES[1:], QUIZ, QUIZ[:1], TRUTHFULQA)
LIKELY = Likelihoods(
    [Score(-0.1 - i / 3, -1 / 7, 3, n_windows=1 + i, n_cut=i) for i in range(3)],
    {
        "choice": [Score(-i / 3, -0.5, 1) for i in range(8)],
        "truthfulqa": [Score(i / 3 - 9, -0.5, 1) for i in range(3)],
    },
)
SAID = Texts(["a", "b"], ["c"], ["d"], ["e", ""])


def by_kind(rows):
    kinds = {}
    for row in rows:
        kinds.setdefault(row["kind"], []).append(row)
    return kinds


def scores():
    return by_kind(score_rows("scratch", ASKED, LIKELY))


def said():
    return by_kind(text_rows("scratch", ASKED, ["Hi", "Why?"], SAID))


def test_a_model_s_results_come_back_from_a_file_to_the_last_digit(tmp_path):
    rows = score_rows("scratch", ASKED, LIKELY) + text_rows("scratch", ASKED, ["Hi", "Why?"], SAID)
    (tmp_path / "rows.jsonl").write_bytes(to_lines(rows))
    kinds = read_rows(tmp_path / "rows.jsonl")["scratch"]
    spoken = {kind: kinds.pop(kind) for kind in ("greedy", "sampled", "truth", "shown")}
    found = restore(
        kinds,
        spoken,
        ITEMS,
        history_chars=100,
    )
    assert (found.asked, found.likelihoods, found.texts) == (ASKED, LIKELY, SAID)


def test_a_row_says_what_bits_per_byte_needs():
    row = scores()["reply"][1]
    assert (row["id"], row["source"], row["group"], row["bytes"]) == ("d0/3", "eli5", "g0", 4)
    assert (row["logprob"], row["end_logprob"], row["n_tokens"]) == (-0.1 - 1 / 3, -1 / 7, 3)


def test_a_question_has_its_grade():
    first, _ = scores()["question"]  # its best answer has log-probability 0, the likeliest
    assert (first["id"], first["mc1"], first["chance"]) == ("q0", 1.0, 1 / 3)


def test_predictions_name_every_text():
    rows = text_rows("scratch", ASKED, ["Hi", "Why?"], SAID)
    assert [row["text"] for row in rows] == ["a", "b", "c", "d", "e", ""]
    assert rows[2] == {"model": "scratch", "kind": "sampled", "id": "d0/3", "text": "c"}


def test_other_data_than_those_evaluated_are_refused():
    changed = [replace(d, turns=(*d.turns[:3], "few")) if d.id == "d2" else d for d in DIALOGUES]
    with pytest.raises(ValueError, match="d2/3 is another text in the data than the one that was evaluated"):
        restore(scores(), said(), index_items(changed, QUIZ + TRUTHFULQA), 100)
    with pytest.raises(ValueError, match="the test data have no reply d2/3"):
        restore(scores(), said(), index_items(DIALOGUES[:2], QUIZ + TRUTHFULQA), 100)
    with pytest.raises(ValueError, match="the data have no question q1"):
        restore(scores(), said(), index_items(DIALOGUES, QUIZ[:1] + TRUTHFULQA), 100)
    with pytest.raises(ValueError, match="9 texts where 8 were scored"):
        more = [*QUIZ[:1], replace(QUIZ[1], incorrect=("no", "never", "maybe"))]
        restore(scores(), said(), index_items(DIALOGUES, more + TRUTHFULQA), 100)


def test_a_model_that_cannot_reply_has_no_texts():
    assert restore(scores(), {}, ITEMS, 100).texts is None
    assert restore({}, said(), ITEMS, 100).likelihoods is None


def test_a_broken_line_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"model": "a", "kind": "reply"}) + "\n{broken\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"rows.jsonl, line 2: not a row of a model"):
        read_rows(path)
    with pytest.raises(FileNotFoundError, match="run `dvc repro evaluate`"):
        read_rows(tmp_path / "none.jsonl")
