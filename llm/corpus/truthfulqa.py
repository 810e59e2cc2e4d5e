"""TruthfulQA (Lin et al. 2022): its questions, and what people judged of models' answers to them."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llm.corpus.questions import Question
from llm.files import parse_json, utf8_lines

COLUMNS = ("Category", "Question", "Best Answer", "Correct Answers", "Incorrect Answers")
LABELS = {" yes": False, " no": True}  # "True: yes" says that the answer is not false


@dataclass(frozen=True)
class Judged:
    """An answer that a person judged."""

    question: Question
    answer: str
    false: bool


def read_truthfulqa(path: Path) -> list[Question]:
    """The questions of TruthfulQA.csv, the best answer first among the correct ones; areas are its categories.

    Raises ValueError for another table, and for one that breaks off.
    """
    lines = [line for _, line in utf8_lines(path)]
    try:
        rows = _rows(csv.DictReader(lines, strict=True))
        return [_question(f"truthfulqa/{number}", row) for number, row in enumerate(rows, 1)]
    except (csv.Error, ValueError) as error:
        raise ValueError(f"{path} is not a whole TruthfulQA.csv: {error}; get it again") from error


def _rows(table: "csv.DictReader[str]") -> list[dict[str, str]]:
    """The rows of a table that has the COLUMNS, each with a cell for every column."""
    missing = [name for name in COLUMNS if name not in (table.fieldnames or ())]
    if missing:
        raise ValueError(f"it has no column {', '.join(missing)}")
    rows = list(table)
    if not rows:
        raise ValueError("it has no question")
    for number, row in enumerate(rows, 1):
        if None in row.values():
            raise ValueError(f"it breaks off in question {number}")
    return rows


def _question(name: str, row: dict[str, str]) -> Question:
    best, right, wrong = _texts(row["Best Answer"]), _texts(row["Correct Answers"]), _texts(row["Incorrect Answers"])
    correct = tuple(dict.fromkeys([*best, *right]))
    return Question(name, row["Category"], _one_line(row["Question"]), correct, tuple(wrong))


def _texts(field: str) -> list[str]:
    return [_one_line(text) for text in field.split(";") if text.strip()]


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _plain(text: str) -> str:
    """The form in which two answers are the same one."""
    return _one_line(text).rstrip(". ").lower()


def read_judged(path: Path, questions: Sequence[Question]) -> list[Judged]:
    """The judged answers of models in finetune_truth.jsonl, in the order of the file.

    The file holds the reference answers too, several judgements of one answer and questions that are not in
    TruthfulQA.csv: references go, an answer stands once, and one that was judged both true and false goes.
    Raises ValueError naming the line that is not a judgement.
    """
    by_text = {question.question: question for question in questions}
    known = {q.question: {_plain(text) for text in q.correct + q.incorrect} for q in questions}
    first: dict[tuple[str, str], str] = {}
    labels: dict[tuple[str, str], set[bool]] = {}
    for number, line in utf8_lines(path):
        if not line.strip():
            continue
        question, answer, false = _parse(line, f"{path}, line {number}")
        key = (question, _plain(answer))
        if question in by_text and key[1] not in known[question]:
            first.setdefault(key, answer)
            labels.setdefault(key, set()).add(false)
    return [
        Judged(by_text[key[0]], answer, next(iter(labels[key])))
        for key, answer in first.items()
        if len(labels[key]) == 1
    ]


def _parse(line: str, where: str) -> tuple[str, str, bool]:
    """Question, answer and whether it was judged false.

    >>> _parse('{"prompt": "Q: Is it?\\\\nA: It is.\\\\nTrue:", "completion": " yes"}', "line 1")
    ('Is it?', 'It is.', False)
    """
    try:
        row = parse_json(line)
        question, found, answer = row["prompt"].removeprefix("Q: ").removesuffix("\nTrue:").partition("\nA: ")
        if not found:
            raise ValueError("the prompt has no answer")
        return _one_line(question), answer.strip(), LABELS[row["completion"]]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{where} is no judgement of the form of finetune_truth.jsonl: {error!r}") from error
