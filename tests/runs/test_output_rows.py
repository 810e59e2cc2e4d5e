import json
from dataclasses import replace

import pytest

from llm.corpus.questions import Question
from llm.dialogue import Dialogue, scored_replies
from llm.evaluation.ask import Generations, Likelihoods
from llm.evaluation.items import EvalItems
from llm.evaluation.scoring import Score
from llm.runs.output_rows import (
    ItemIndex,
    generation_rows,
    item_rows,
    jsonl_bytes,
    read_items,
    read_output_rows,
    restore_outputs,
    score_rows,
)

BOOK = Dialogue("b0", "book", "b", ("It was a dark and stormy night. " * 20,), kind="document")
TOLD = Dialogue("t0", "mine", "t", ("why?", "so"), system="Be kind")
DIALOGUES = [Dialogue(f"d{i}", "eli5", f"g{i}", (f"why {i}?", f"for {i} reasons", "which?", "many")) for i in range(3)]
DIALOGUES += [BOOK, TOLD]
QUIZ = [Question(f"q{i}", "area", f"what is {i}?", (f"{i}", f"the {i}"), ("no", "never")) for i in range(2)]
TRUTHFULQA = [Question("truthfulqa/7", "Myths", "do cats bark?", ("no",), ("yes", "at night"))]
PAIRS = [Question(f"p{i}", "area", "", (f"true {i}",), (f"false {i}",), couple="p0") for i in range(2)]
PREMISES = [Question("f0", "area", "why?", ("yes",), ("no",))]
ASKED = QUIZ + TRUTHFULQA + PAIRS + PREMISES


def index_items(dialogues, questions):
    examples = {example.id: example for dialogue in dialogues for example in scored_replies(dialogue)}
    return ItemIndex(examples, {question.id: question for question in questions})


INDEX = index_items(DIALOGUES, ASKED)
EXAMPLES = [INDEX.example(name) for name in ("d0/1", "d0/3", "d2/3", "b0/0", "t0/1")]
ITEMS = EvalItems(
    EXAMPLES, EXAMPLES[1:3], QUIZ, QUIZ[:1], TRUTHFULQA, shown=("Hi", "Why?"), continued=EXAMPLES[3:4], pairs=PAIRS,
    premises=PREMISES,
)  # fmt: skip
LIKELY = Likelihoods(
    [Score(-0.1 - i / 3, -1 / 7, 3, n_windows=1 + i, n_cut=i) for i in range(5)],
    {
        "choice": [Score(-i / 3, -0.5, 1) for i in range(8)],
        "literacy": [Score(-i / 7, -0.5, 1) for i in range(4)],
        "premises": [Score(-i / 9, -0.5, 1) for i in range(2)],
        "truthfulqa": [Score(i / 3 - 9, -0.5, 1) for i in range(3)],
    },
)
ENDED = {"greedy": [True, False], "sampled": [True], "truth": [False], "shown": [True, True], "continued": [False]}
ENDED |= {"shown_sampled": [True, False]}
SAID = Generations(["a", "b"], ["c"], ["d"], ["e", ""], ["f"], ENDED, ["g", "h"])


def by_kind(rows):
    kinds = {}
    for row in rows:
        kinds.setdefault(row["kind"], []).append(row)
    return kinds


def scores():
    return by_kind(score_rows("scratch", ITEMS, LIKELY))


def said():
    return by_kind(generation_rows("scratch", ITEMS, SAID))


def test_a_model_s_results_come_back_from_a_file_to_the_last_digit(tmp_path):
    rows = score_rows("scratch", ITEMS, LIKELY) + generation_rows("scratch", ITEMS, SAID)
    (tmp_path / "rows.jsonl").write_bytes(jsonl_bytes(rows))
    kinds = read_output_rows(tmp_path / "rows.jsonl")["scratch"]
    spoken = {kind: kinds.pop(kind) for kind in ("greedy", "sampled", "truth", "shown", "shown_sampled", "continued")}
    found = restore_outputs(
        kinds,
        spoken,
        INDEX,
    )
    assert (found.items, found.likelihoods, found.generations) == (ITEMS, LIKELY, SAID)


def test_a_row_says_what_bits_per_byte_needs():
    row = scores()["reply"][1]
    assert (row["id"], row["source"], row["group"], row["bytes"]) == ("d0/3", "eli5", "g0", 4)
    assert (row["logprob"], row["end_logprob"], row["n_tokens"]) == (-0.1 - 1 / 3, -1 / 7, 3)


def test_a_question_has_its_grade():
    first, _ = scores()["question"]  # its best answer has log-probability 0, the likeliest
    assert (first["id"], first["mc1"], first["chance"]) == ("q0", 1.0, 1 / 3)


def test_a_pair_and_a_premise_have_their_grades():
    found = scores()
    assert [(row["id"], row["accuracy"], row["couples_both"]) for row in found["pair"]] == [("p0", 1, 1), ("p1", 1, 1)]
    assert [row["id"] for row in found["statement"]] == ["p0/0", "p0/1", "p1/0", "p1/1"]
    assert [(row["id"], row["accuracy"], row["chance"]) for row in found["premise"]] == [("f0", 1.0, 0.5)]


def test_predictions_name_every_text():
    rows = generation_rows("scratch", ITEMS, SAID)
    assert [row["text"] for row in rows] == ["a", "b", "c", "d", "e", "", "g", "h", "f"]
    assert rows[2] == {"model": "scratch", "kind": "sampled", "id": "d0/3", "text": "c", "ended": True}
    assert [row["ended"] for row in rows] == [True, False, True, False, True, True, True, False, False]


def test_other_items_than_those_evaluated_are_refused():
    changed = [replace(d, turns=(*d.turns[:3], "few")) if d.id == "d2" else d for d in DIALOGUES]
    with pytest.raises(ValueError, match="d2/3 is another text in the items than the one that was evaluated"):
        restore_outputs(scores(), said(), index_items(changed, ASKED))
    told = [replace(d, system="Be brief") if d is TOLD else d for d in DIALOGUES]
    with pytest.raises(ValueError, match="t0/1 is another text in the items than the one that was evaluated"):
        restore_outputs(scores(), said(), index_items(told, ASKED))
    with pytest.raises(ValueError, match="the items have no reply d2/3"):
        restore_outputs(scores(), said(), index_items(DIALOGUES[:2], ASKED))
    with pytest.raises(ValueError, match="the items have no question q1"):
        restore_outputs(scores(), said(), index_items(DIALOGUES, [one for one in ASKED if one.id != "q1"]))
    with pytest.raises(ValueError, match="9 texts where 8 were scored"):
        more = [*QUIZ[:1], replace(QUIZ[1], incorrect=("no", "never", "maybe"))]
        restore_outputs(scores(), said(), index_items(DIALOGUES, more + ASKED[2:]))


def test_a_model_that_cannot_reply_has_no_texts():
    assert restore_outputs(scores(), {}, INDEX).generations is None
    assert restore_outputs({}, said(), INDEX).likelihoods is None


def test_items_come_back_from_a_file_each_once(tmp_path):
    path = tmp_path / "items.jsonl"
    path.write_bytes(jsonl_bytes(item_rows(ITEMS)))
    found = read_items(path)
    assert list(found.examples.values()) == EXAMPLES  # those that are replied to and gone on with are among them
    assert found.questions == {one.id: one for one in ASKED}
    path.write_text('{"kind": "reply", "id": "d0/1"}\n', encoding="utf-8")
    with pytest.raises(ValueError, match=r"items.jsonl, line 1: not an item \("):
        read_items(path)
    with pytest.raises(FileNotFoundError, match="run `dvc repro evaluate`"):
        read_items(tmp_path / "none.jsonl")


def test_a_broken_line_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"model": "a", "kind": "reply"}) + "\n{broken\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"rows.jsonl, line 2: not a row of a model"):
        read_output_rows(path)
    with pytest.raises(FileNotFoundError, match="run `dvc repro evaluate`"):
        read_output_rows(tmp_path / "none.jsonl")
