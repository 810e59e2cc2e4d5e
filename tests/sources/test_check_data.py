"""`python -m llm check-data` says what the provider would read, and ends with what to write into params.yaml."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from llm.__main__ import main
from llm.sources.languages import count_words, describe_languages
from llm.sources.local import LocalConfig, read_local
from tests.sources.broken_inputs import HTTP, rows, said


def told(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, str]:
    """The facts of the report by name; the rest under ""."""
    assert main(["check-data", *words]) == 0
    page = capsys.readouterr().out
    lines = [line for line in page.split("\n\n")[0].splitlines() if line.startswith("  ")]
    return {line[2:13].strip(): line[13:] for line in lines} | {"": page}


def chats() -> list[Any]:
    talk = [said(("user", f"What is {i}?"), ("assistant", f"It is the number {i}.")) for i in range(200)]
    system = said(("system", "Be kind."), ("user", "Who are you?"), ("assistant", "Write to ann@example.com."))
    return [*talk, system, system, said(("user", "Hi.")), said(("user", "Hi."), ("tool", "{}"), ("assistant", "Ho."))]


def test_the_report_of_chats(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "own.jsonl").write_bytes(rows(*chats()))
    report = told(capsys, str(tmp_path / "own.jsonl"))
    assert report["form"] == "messages (messages: messages)"
    assert report["rows"] == "204"
    assert report["dialogues"] == "202 with 202 exchanges, 2 with a system turn"
    assert report["repeated"].startswith("1 word for word")
    assert report["left out"] == "rows of one turn: 1, rows with tools: 1"
    assert report["to mask"] == "2 email"
    assert report["language"] == "Latin script 100%, by its commonest words English"
    assert report["test set"].startswith("30 or more of 201 dialogues and sections")
    assert "own.jsonl, line 203: nothing in it answers the user" in report[""]


def test_it_ends_with_a_source_that_can_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "faq: one.csv"
    file.write_text("q,a,topic\nWhy?,So.,x\n", encoding="utf-8")
    report = told(capsys, str(file), "--columns", "prompt=q,reply=a,group=topic")
    assert report["form"] == "pairs (prompt: q, reply: a, group: topic)"
    section = yaml.safe_load(report[""][report[""].index("download:") :])["download"]["mine"]["local"]
    config = LocalConfig(**section | {"mask": tuple(section["mask"])})
    assert read_local(config, "mine", 10, HTTP).dialogues[0].group == "mine/x"


def test_a_small_set_is_told_what_it_cannot_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "book.txt").write_text("".join(f"Once upon {i:04}. " for i in range(2250)), encoding="utf-8")
    report = told(capsys, str(tmp_path))
    assert report["sections"] == "12 of documents, each learned as a text"
    assert report["test set"].startswith("up to 2, the last of 12 dialogues and sections of 1 group: figures tell")

    (tmp_path / "own.jsonl").write_bytes(rows(*chats()[:50]))
    report = told(capsys, str(tmp_path / "own.jsonl"))
    assert report["test set"] == "10 of 50 dialogues and sections, fewer than 30: figures without an interval"


def test_damaged_lines_are_numbered_and_the_first_ten_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [json.dumps({"question": str(i), "answer": "So."}) if i % 4 else "{" for i in range(1, 101)]
    (tmp_path / "own.jsonl").write_text("\n".join(lines), encoding="utf-8")
    assert main(["check-data", str(tmp_path / "own.jsonl")]) == 1
    page, line = capsys.readouterr()
    assert "damaged lines: 25" in page
    assert [f"line {i}: broken" in page for i in (4, 40, 44)] == [True, True, False]
    assert line == f"{tmp_path / 'own.jsonl'} is refused: mend its damaged lines (25) first\n"


def test_a_file_of_damaged_lines_alone_is_told_by_its_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "own.jsonl").write_text('{"question": "Why?", "answer"\n{\n', encoding="utf-8")
    assert main(["check-data", str(tmp_path / "own.jsonl")]) == 1
    assert capsys.readouterr().err.startswith("own.jsonl has no rows that are whole: own.jsonl, line 1: broken JSON at")


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("the cat and the dog", "Latin script 100%, by its commonest words English"),
        ("der Hund und die Katze, das ist nicht viel", "Latin script 100%, by its commonest words German"),
        ("lorem ipsum dolor", "Latin script 100%, of which language its commonest words do not say"),
        ("为什么天空是蓝色的", "Chinese characters 100%"),
        ("لماذا السماء زرقاء", "Arabic script 100%"),
        ("почему небо синее", "Cyrillic script 100%"),
        ("12 + 7", "no letters"),
    ],
)
def test_languages_are_named_as_far_as_letters_and_common_words_go(text: str, language: str) -> None:
    assert describe_languages(Counter(text), count_words(text)) == language
