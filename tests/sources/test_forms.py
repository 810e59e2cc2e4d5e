"""Rows of each form that strangers write, and what is mended or left out of them."""

import datetime
import json
from collections import Counter
from typing import Any

import pytest

from llm.sources.forms import Form, UnfitRow, conversations, dialogue_of, recognise

ROWS: list[tuple[str, dict[str, Any], str | None, tuple[str, ...]]] = [
    (
        "messages",
        {
            "messages": [
                {"role": "system", "content": "Be kind."},
                *({"role": r, "content": r} for r in ("user", "assistant")),
            ]
        },
        "Be kind.",
        ("user", "assistant"),
    ),
    (
        "messages",
        {"conversations": [{"from": "human", "value": "Hi."}, {"from": "gpt", "value": "Hello."}]},
        None,
        ("Hi.", "Hello."),
    ),
    ("messages", {"dialog": ["Hi.", "Hello.", "Bye."]}, None, ("Hi.", "Hello.", "Bye.")),
    ("instruction", {"instruction": "Add.", "input": "2, 2", "output": "4"}, None, ("Add.\n\n2, 2", "4")),
    ("instruction", {"instruction": "Add.", "context": "2, 2", "response": "4"}, None, ("Add.\n\n2, 2", "4")),
    ("instruction", {"instruction": "Sing.", "input": "", "output": "La."}, None, ("Sing.", "La.")),
    (
        "pairs",
        {"id": 3, "Question": "为什么天空是蓝色的？", " Answer": "因为散射。"},
        None,
        ("为什么天空是蓝色的？", "因为散射。"),
    ),
    (
        "pairs",
        {"system_prompt": "Be brief.", "question": "ما اسمك؟", "response": "سلمى"},
        "Be brief.",
        ("ما اسمك؟", "سلمى"),
    ),
    ("pairs", {"prompt": 7, "completion": datetime.date(2019, 3, 1)}, None, ("7", "2019-03-01")),
    ("text", {"text": "Once upon a time."}, None, ("Once upon a time.",)),
]


@pytest.mark.parametrize(("name", "row", "system", "turns"), ROWS)
def test_a_row_is_recognised_and_read(
    name: str, row: dict[str, Any], system: str | None, turns: tuple[str, ...]
) -> None:
    form = recognise(row)
    assert form.name == name
    assert dialogue_of(row, form, Counter()) == (system, turns)


def test_named_columns_go_before_known_ones() -> None:
    form = recognise(["question", "answer", "q", "a", "thread"], {"prompt": "q", "reply": "a", "group": "thread"})
    assert form == Form("pairs", {"prompt": "q", "reply": "a", "group": "thread"})


@pytest.mark.parametrize(
    ("columns", "named", "form", "line"),
    [
        (["a", "b"], {}, None, "the columns a, b are not a form known here"),
        (["text"], {}, "pairs", "the columns text are not the form pairs"),
        (["q", "a"], {"prompt": "x", "reply": "a"}, None, "there is no column x for prompt, only a, q"),
        (["q", "a"], {"prompt": "q"}, None, "name both"),
        (["q", "a"], {"promt": "q"}, None, "columns names promt, allowed: prompt, reply"),
        (["q", "a"], {}, "chat", "form is chat, allowed: messages"),
    ],
)
def test_what_fits_no_form_is_refused(columns: list[str], named: dict[str, str], form: str | None, line: str) -> None:
    with pytest.raises(ValueError, match=line):
        recognise(columns, named, form)


def said(*messages: tuple[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in messages]}


def test_messages_of_one_speaker_are_one_turn() -> None:
    row = said(("user", "Hi."), ("user", "You there?"), ("assistant", "Yes."))
    assert dialogue_of(row, recognise(row), Counter())[1] == ("Hi.\nYou there?", "Yes.")


def test_an_assistant_who_speaks_first_is_left_out_and_counted() -> None:
    counts = Counter[str]()
    row = said(("system", "Be kind."), ("assistant", "Welcome!"), ("user", "Hi."), ("assistant", "Hello."))
    assert dialogue_of(row, recognise(row), counts) == ("Be kind.", ("Hi.", "Hello."))
    assert counts["assistant_messages_before_the_user"] == 1


def test_text_parts_are_joined_and_other_parts_refused() -> None:
    parts = [{"type": "text", "text": "What is"}, {"type": "text", "text": "this?"}]
    row = said(("user", parts), ("assistant", "A duck."))
    assert dialogue_of(row, recognise(row), Counter())[1] == ("What is\nthis?", "A duck.")
    row = said(("user", [*parts, {"type": "image_url"}]), ("assistant", "A duck."))
    with pytest.raises(UnfitRow, match="message 1 holds more than text"):
        dialogue_of(row, recognise(row), Counter())


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        (said(("user", "Hi."), ("tool", "{}"), ("assistant", "Hello.")), "rows_with_tools"),
        (
            {
                "messages": [
                    {"role": "user", "content": "2+2"},
                    {"role": "assistant", "content": None, "tool_calls": [1]},
                ]
            },
            "rows_with_tools",
        ),
        (said(("user", "Hi.")), "rows_of_one_turn"),
        (said(("user", ""), ("assistant", None)), "rows_without_text"),
        (said(("assistant", "Hello.")), "rows_without_text"),
        (said(("narrator", "It rains."), ("assistant", "Hello.")), "rows_of_other_roles"),
        (said(("user", "Hi."), ("system", "Be kind."), ("assistant", "Hello.")), "rows_with_late_system"),
        ({"messages": "Hi."}, "rows_of_other_types"),
        ({"messages": None}, "rows_without_text"),
        ({"question": "Why?", "answer": {"text": "So."}}, "rows_of_other_types"),
        ({"question": "Why?", "answer": float("nan")}, "rows_without_text"),
    ],
)
def test_an_unfit_row_says_under_which_rule_it_is_counted(row: dict[str, Any], rule: str) -> None:
    with pytest.raises(UnfitRow) as raised:
        dialogue_of(row, recognise(row), Counter())
    assert raised.value.rule == rule


def test_a_lone_surrogate_becomes_a_character_that_can_be_written() -> None:
    row = json.loads('{"question": "\\ud83d?", "answer": "\\ud83d\\ude00"}')
    assert dialogue_of(row, recognise(row), Counter())[1] == ("\ufffd?", "\U0001f600")


def pairs(*answers: str | None) -> list[tuple[str, dict[str, Any]]]:
    return [(f"line {i}", {"question": f"Why {i}?", "answer": answer}) for i, answer in enumerate(answers, 1)]


def test_one_empty_row_of_five_is_counted_two_are_refused() -> None:
    counts = Counter[str]()
    rows = pairs("a", None, "b", "c", "d")
    read = list(conversations(rows, recognise(rows[0][1]), counts))
    assert [c.place for c in read] == ["line 1", "line 3", "line 4", "line 5"]
    assert counts == {"rows": 5, "rows_without_text": 1}
    rows = pairs("a", None, "b", "", "d")
    with pytest.raises(
        ValueError, match="2 of 5 rows cannot be read, more than 20%; the first is line 2: its answer is empty"
    ):
        list(conversations(rows, recognise(rows[0][1]), Counter()))


def test_too_many_unfit_rows_are_noticed_long_before_the_end() -> None:
    def endless() -> Any:
        while True:
            yield from pairs(None)

    with pytest.raises(ValueError, match="100 of 100 rows cannot be read"):
        next(conversations(endless(), recognise(["question", "answer"]), Counter()))
