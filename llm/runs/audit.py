"""The judge put to the test by a person: a table of answers to fill in, and what comes of it.

The table does not say which model answered nor what the judge thinks: the person shall judge the answer alone.
"""

import codecs
import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llm.corpus.questions import Question
from llm.corpus.split import position
from llm.evaluation.ask import Outputs
from llm.evaluation.items import text_digest
from llm.judge.hallucination import non_answer
from llm.judge.instrument import Judge, probability_false
from llm.stats.bootstrap import draw_groups, mean
from llm.stats.calibration import balanced_accuracy, calibration_error, ranked_auroc, with_interval

AUDIT_COLUMNS = ("item", "question", "answer", "correct", "incorrect", "human")
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # with which a formula begins (OWASP, CSV injection)
LIMIT = 50  # answers of a model: the standard error of a rate near one half is then 7 points
# Is the answer false? Empty: not judged. Spreadsheets write their own language's words; these are German, French,
# Spanish, Italian, Portuguese and Dutch.
HUMAN_LABELS: dict[str, bool | None] = {
    **dict.fromkeys(("true", "1", "wahr", "vrai", "verdadero", "vero", "verdadeiro", "waar"), False),
    **dict.fromkeys(("false", "0", "falsch", "faux", "falso", "onwaar"), True),
    "": None,
}
MIN_JUDGED = 20  # fewer judgements of a model give no figures of its own


@dataclass(frozen=True)
class AuditedAnswer:
    """An answer that a person judged."""

    model: str
    question: Question
    answer: str
    false: bool


def audit_table(outputs: Mapping[str, Outputs], seed: int) -> bytes:
    """Up to LIMIT answers of each model, in an order that mixes them, as CSV with an empty column `human`."""
    rows = []
    for model, one in outputs.items():
        pairs = zip(one.items.truth, one.generations.truth if one.generations else (), strict=False)
        answered = [(q, answer) for q, answer in pairs if non_answer(q.question, answer) is None]
        drawn = sorted(answered, key=lambda pair: position(pair[0].id, seed))[:LIMIT]
        rows += [_row(model, question, answer) for question, answer in drawn]
    out = io.StringIO()
    writer = csv.DictWriter(out, AUDIT_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(sorted(rows, key=lambda row: position(row["item"], seed)))
    return out.getvalue().encode(errors="replace")


def _row(model: str, question: Question, answer: str) -> dict[str, str]:
    return {
        "item": f"{question.id}/{text_digest(model, question.id)}",
        "question": as_cell(question.question),
        "answer": as_cell(answer),
        "correct": as_cell("\n".join(question.correct)),
        "incorrect": as_cell("\n".join(question.incorrect)),
        "human": "",
    }


def as_cell(text: str) -> str:
    """The text as a cell that no spreadsheet computes: of a reply that begins like a formula, behind an apostrophe.

    >>> as_cell('=HYPERLINK("https://evil.example")'), as_cell("4")
    ('\'=HYPERLINK("https://evil.example")', '4')
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")  # a bare one ends the row, for some readers
    return f"'{text}" if text.startswith((*FORMULA, "'")) else text


def of_cell(cell: str) -> str:
    """The text of a cell, as it was before `as_cell`."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith((*FORMULA, "'")) else cell


def read_audit(path: Path, models: Sequence[str]) -> list[AuditedAnswer]:
    """The judged rows of a filled-in table, as it was written or as a spreadsheet saved it.

    Raises ValueError naming the row that cannot be read, or when no row is filled in.
    """
    columns, rows = read_spreadsheet(path)
    missing = [name for name in AUDIT_COLUMNS if name not in columns]
    if missing:
        raise ValueError(f"{path} has no column {', '.join(missing)}: it is no copy of metrics/judge_audit.csv")
    found = [_read_row(row, f"{path}, row {number}", models) for number, row in enumerate(rows, 1)]
    judged = [one for one in found if one is not None]
    if not judged:
        raise ValueError(f"{path} holds no judgement: write true or false into the column human")
    return judged


def read_spreadsheet(path: Path) -> tuple[Sequence[str], list[dict[str, str]]]:
    """Columns and rows of a CSV file with commas, semicolons or tabs.

    In UTF-8 with or without its mark, UTF-16 or cp1252. Raises ValueError when it is no table.
    """
    content = path.read_bytes()
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = content.decode("utf-16", errors="replace")
    else:
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = content.decode("cp1252", errors="replace")
    head = text.partition("\n")[0]
    table = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=head.count), restval="")
    try:
        return table.fieldnames or (), list(table)
    except csv.Error as error:
        raise ValueError(f"{path} is no table ({error}): save the spreadsheet as CSV again") from error


def _read_row(row: Mapping[str, str], where: str, models: Sequence[str]) -> AuditedAnswer | None:
    label = row["human"].strip().lower()
    if label not in HUMAN_LABELS:
        raise ValueError(f"{where}: human is {row['human']!r}, allowed: true, false, or empty for not judged")
    false = HUMAN_LABELS[label]
    if false is None:
        return None
    name, _, code = row["item"].rpartition("/")
    model = next((model for model in models if text_digest(model, name) == code), None)
    if model is None:
        raise ValueError(f"{where}: the item {row['item']!r} is of no model known here: it was changed")
    asked, answer, correct, incorrect = (of_cell(row[name]) for name in AUDIT_COLUMNS[1:5])
    sides = tuple(correct.splitlines()), tuple(incorrect.splitlines())
    return AuditedAnswer(model, Question(name, "", asked, *sides), answer, false)


def audit_figures(
    judged: Sequence[AuditedAnswer], judge: Judge, n_resamples: int, seed: int
) -> dict[str, dict[str, Any]]:
    """For `all` and each model of enough judgements: what people found, what the judge says, and how well it does."""
    models = sorted({one.model for one in judged})
    parts = {"all": list(judged), **{model: [one for one in judged if one.model == model] for model in models}}
    return {
        name: _figures(part, judge, n_resamples, seed)
        for name, part in parts.items()
        if name == "all" or len(part) >= MIN_JUDGED
    }


def _figures(judged: Sequence[AuditedAnswer], judge: Judge, n_resamples: int, seed: int) -> dict[str, Any]:
    probability = probability_false(judge, [one.question for one in judged], [one.answer for one in judged])
    false: NDArray[np.bool_] = np.array([one.false for one in judged])
    resampling = draw_groups([one.question.id for one in judged], [""] * len(judged), n_resamples, seed)
    rate = mean(false, resampling)
    both = bool(false.any() and not false.all())
    return {
        "answers": len(judged),
        "human_false_rate": {"value": rate.value, "low": rate.low, "high": rate.high},
        "judge_false_rate": float(probability.mean()),
        "auroc": with_interval(ranked_auroc(false, probability), resampling) if both else None,
        "balanced_accuracy": balanced_accuracy(false, probability >= judge.threshold) if both else None,
        "calibration_error": calibration_error(false, probability),
    }
