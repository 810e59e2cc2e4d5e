import csv
import io
import json

import pytest

from llm.corpus.questions import Question
from llm.evaluation.ask import Generations, Outputs
from llm.evaluation.items import EvalItems
from llm.judge.instrument import load_judge
from llm.runs.audit import AUDIT_COLUMNS, LIMIT, audit_figures, audit_table, read_audit

QUESTIONS = [
    Question(f"q{i}", "a", f"Is {i} even?", (f"{i} is", "Yes, it is"), (f"{i} is odd", "No, it never was"))
    for i in range(60)
]


def run(answers):
    return Outputs(EvalItems([], [], [], QUESTIONS, []), None, Generations([], [], answers, []))


RUNS = {
    "scratch": run(["Yes, it is."] * 59 + ["I don't know."]),
    "base": run([""] * 30 + ["No, it never was even"] * 30),
    "ngram5": Outputs(EvalItems([], [], [], [], []), None, None),
}


def read(table):
    return list(csv.DictReader(io.StringIO(table.decode())))


def write(path, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, AUDIT_COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return path


def filled():
    """The table as a person fills it in who calls every "No" false."""
    return [
        {**row, "human": "False" if row["answer"].startswith("No") else "true"} for row in read(audit_table(RUNS, 1))
    ]


def test_the_table_has_so_many_answers_of_each_model_and_no_label():
    rows = read(audit_table(RUNS, 1))
    assert len(rows) == LIMIT + 30  # what is no answer is not asked about
    assert {row["human"] for row in rows} == {""}
    assert tuple(rows[0]) == AUDIT_COLUMNS
    assert audit_table(RUNS, 1) == audit_table(RUNS, 1)


def test_the_table_names_no_model_and_mixes_them():
    text = audit_table(RUNS, 1).decode()
    assert not any(name in text for name in RUNS)
    kinds = [row["answer"][:2] for row in read(text.encode())]
    assert kinds not in (sorted(kinds), sorted(kinds, reverse=True))


def test_a_filled_in_table_says_how_good_the_judge_is(tmp_path, repository):
    judged = read_audit(write(tmp_path / "audit.csv", filled()), tuple(RUNS))
    assert {one.model for one in judged} == {"scratch", "base"}
    found = audit_figures(judged, load_judge(repository / "data/judge"), 100, seed=1)
    assert found["all"]["answers"] == 80
    assert found["all"]["human_false_rate"]["value"] == 30 / 80
    assert found["all"]["auroc"]["value"] == 1.0
    assert found["base"]["human_false_rate"]["value"] == 1.0
    assert found["base"]["auroc"] is None  # all false: nothing to tell apart
    assert found["base"]["judge_false_rate"] > found["scratch"]["judge_false_rate"]
    json.dumps(found, allow_nan=False)


def test_rows_without_a_judgement_are_left_out(tmp_path, repository):
    rows = filled()
    for row in rows[10:]:
        row["human"] = ""
    found = audit_figures(
        read_audit(write(tmp_path / "a.csv", rows), tuple(RUNS)), load_judge(repository / "data/judge"), 100, 1
    )
    assert set(found) == {"all"}  # too few of any model
    assert found["all"]["answers"] == 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"human": "maybe"}, r"row 1: human is 'maybe', allowed: true, false, or empty"),
        ({"item": "q1/0"}, r"row 1: the item 'q1/0' is of no model known here"),
    ],
)
def test_a_row_that_cannot_be_read_is_refused(change, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        read_audit(write(tmp_path / "a.csv", [{**filled()[0], **change}]), tuple(RUNS))


def test_an_empty_table_and_another_table_are_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no judgement: write true or false"):
        read_audit(write(tmp_path / "a.csv", read(audit_table(RUNS, 1))), tuple(RUNS))
    (tmp_path / "b.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"has no column item, question.* no copy of metrics/judge_audit.csv"):
        read_audit(tmp_path / "b.csv", tuple(RUNS))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_saved_by_a_spreadsheet_is_read(encoding, delimiter, tmp_path):
    rows = [
        {**row, "question": row["question"] + " caf\u00e9 \u2019", "human": row["human"].upper()} for row in filled()
    ]
    out = io.StringIO()
    writer = csv.DictWriter(out, AUDIT_COLUMNS, delimiter=delimiter, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    (tmp_path / "a.csv").write_bytes(out.getvalue().encode(encoding))
    judged = read_audit(tmp_path / "a.csv", tuple(RUNS))
    assert len(judged) == 80
    assert all(one.question.question.endswith(" caf\u00e9 \u2019") for one in judged)


def test_a_spreadsheet_s_own_words_for_true_and_false_are_read(tmp_path):
    rows = [{**row, "human": "FALSCH" if row["human"] == "False" else "WAHR"} for row in filled()]
    assert read_audit(write(tmp_path / "a.csv", rows), tuple(RUNS)) == read_audit(
        write(tmp_path / "b.csv", filled()), tuple(RUNS)
    )


def test_a_row_that_ends_early_is_not_judged(tmp_path):
    path = write(tmp_path / "a.csv", filled()[:2])
    path.write_bytes(path.read_bytes() + b"x/0,Q,A\n")
    assert len(read_audit(path, tuple(RUNS))) == 2


def test_the_short_row_of_a_public_report_is_not_judged(real_data):
    with pytest.raises(ValueError, match="holds no judgement: write true or false"):
        read_audit(real_data / "reports/05-short-audit-row/short.csv", tuple(RUNS))


def test_what_is_no_table_is_told(tmp_path):
    (tmp_path / "a.csv").write_text("item,question\n" + "x" * 200, encoding="utf-8")
    before = csv.field_size_limit(100)  # of the whole process
    try:
        with pytest.raises(ValueError, match=r"a\.csv is no table \(field larger.*save the spreadsheet as CSV again"):
            read_audit(tmp_path / "a.csv", tuple(RUNS))
    finally:
        csv.field_size_limit(before)


def test_of_half_a_utf_16_table_the_row_is_named(tmp_path):
    path = write(tmp_path / "a.csv", filled())
    path.write_bytes(path.read_text(encoding="utf-8").encode("utf-16")[:-1])
    with pytest.raises(ValueError, match="row 80: human is"):
        read_audit(path, tuple(RUNS))


def test_an_answer_like_a_formula_is_judged_as_it_was_written(tmp_path):
    runs = {"base": run(["=1+1 is even, yes"] * 60)}
    rows = [{**row, "human": "true"} for row in read(audit_table(runs, 1))]
    assert {row["answer"] for row in rows} == {"'=1+1 is even, yes"}
    assert {one.answer for one in read_audit(write(tmp_path / "a.csv", rows), ("base",))} == {"=1+1 is even, yes"}
