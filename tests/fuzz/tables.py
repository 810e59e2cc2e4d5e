"""Harnesses of parameters, of questions and what was written about them, and of tables that people fill in."""

from collections.abc import Callable
from pathlib import Path

from llm.corpus.questions import Question, read_pairs, read_questions
from llm.corpus.truthfulqa import COLUMNS, read_judged, read_truthfulqa
from llm.judge.labelled import read_labelled, read_replies
from llm.runs.audit import AUDIT_COLUMNS, read_audit
from llm.runs.output_rows import read_items, read_output_rows
from stages.check_params import Params, check_layout
from stages.params import load, read_params
from tests.fuzz.harness import ROOT, Harness, placed
from tests.fuzz.sets import json_lines

QUESTIONS = [Question(f"q{i}", "a", f"Is {i} even?", (f"{i} is",), (f"{i} is odd", "No")) for i in range(3)]


def params(data: bytes) -> None:
    """Check params.yaml."""
    placed("presets/laptop.yaml", (ROOT / "presets/laptop.yaml").read_bytes())
    path = placed("params.yaml", data)
    check_layout(read_params(path))
    load("", Params, path)


READERS: tuple[Callable[[Path], object], ...] = (
    read_questions, read_pairs, lambda path: read_labelled(path, QUESTIONS), lambda path: read_replies(path, QUESTIONS),
    read_truthfulqa, lambda path: read_judged(path, QUESTIONS), read_output_rows, read_items,
)  # fmt: skip


def questions(data: bytes) -> None:
    """Read questions, labelled answers or written outputs: the first byte says by which reader."""
    if data:
        READERS[data[0] % len(READERS)](placed("questions.jsonl", data[1:]))


def question_seeds() -> list[bytes]:
    """An input for each reader."""
    files = ("data/curated/quiz.jsonl", "data/curated/pairs.jsonl")
    heads = [b"".join((ROOT / name).read_bytes().splitlines(keepends=True)[:2]) for name in files]
    judged = {"prompt": "Q: Is 1 even?\nA: 1 was.\nTrue:", "completion": " no"}
    item = {"id": "x/1", "source": "s", "group": "g", "history": ["Hi"], "reply": "Ho", "system": None, "opening": ""}
    bodies = [
        *heads,
        json_lines({"question": "q1", "answer": "No", "false": True}),
        json_lines({"question": "q1", "model": "base", "reply": "No", "label": True}),
        (",".join(COLUMNS) + '\na,Is it?,"It is.","It is; yes","no; not"\n').encode(),
        json_lines(judged),
        json_lines({"model": "base", "kind": "greedy", "id": "x", "text": "y", "ended": True}),
        json_lines({"kind": "reply", **item}),
    ]
    return [bytes([i]) + body for i, body in enumerate(bodies)]


def spreadsheet(data: bytes) -> None:
    """Read a table of answers that a person judged."""
    read_audit(placed("audit.csv", data), ("scratch", "base"))


def spreadsheet_seeds() -> list[bytes]:
    """A filled-in table as several programs save it."""
    from llm.evaluation.items import text_digest

    cells = [f"q1/{text_digest('base', 'q1')}", "Is 1 even?", '"No, ""never"""', "1 is", '"1 is odd\nNo"', "TRUE"]
    text = "".join(f"{','.join(row)}\r\n" for row in [AUDIT_COLUMNS, cells])
    return [text.encode("utf-8-sig"), text.replace(",", ";").encode("cp1252"), text.encode("utf-16")]


HARNESSES = {
    "params": Harness(params, lambda: [(ROOT / "presets/laptop.yaml").read_bytes()]),
    "questions": Harness(questions, question_seeds),
    "spreadsheet": Harness(spreadsheet, spreadsheet_seeds),
}
