"""ELI5 from files of the hub's form."""

import json
from datetime import date

import pytest
from datasets import Dataset

from llm.fetching.download import DownloadError
from llm.sources.eli5 import Eli5Config, read_eli5

ROWS = [
    {"question": "ELI5: Why is the sky blue?", "answer": "Light scatters &amp; blue most ([more](_URL_0_))."},
    {"question": "Why is the sky blue?", "answer": "Air spreads blue light.\n\n\n\nRed less."},
    {"question": "Why is ice slippery? [removed]", "answer": "A thin layer melts."},
    {"question": "How do planes fly?", "answer": "[deleted]"},
    {"question": "_URL_0_", "answer": "It is a link."},
    {"question": "How do boats float?", "answer": "They push water away."},
]


def read(location, limit=100):
    return read_eli5(Eli5Config(location, "pair", "main"), "eli5", limit)


def write_rows(path, rows=ROWS):
    if path.suffix == ".parquet":
        Dataset.from_list(rows).to_parquet(path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", ["eli5.parquet", "eli5.jsonl"])
def test_local_rows_become_cleaned_dialogues(tmp_path, name):
    corpus = read(write_rows(tmp_path / name), 100)
    assert [dialogue.turns for dialogue in corpus.dialogues] == [
        ("Why is the sky blue?", "Light scatters & blue most (more)."),
        ("Why is the sky blue?", "Air spreads blue light.\n\nRed less."),
        ("Why is ice slippery?", "A thin layer melts."),
        ("How do boats float?", "They push water away."),
    ]
    assert corpus.counts == {"rows": 6, "answers_removed": 1, "rows_without_text": 1}
    assert (corpus.location, corpus.revision) == (name, None)


def test_rows_that_ask_the_same_are_one_group_and_ids_differ(tmp_path):
    first, second, third, _ = read(write_rows(tmp_path / "e.jsonl"), 100).dialogues
    assert first.group == second.group != third.group
    assert first.id != second.id


def test_ids_of_two_sources_differ(tmp_path):
    config = Eli5Config(write_rows(tmp_path / "e.jsonl"), "pair", "main")
    assert not {d.id for d in read_eli5(config, "eli5", 9).dialogues} & {
        d.id for d in read_eli5(config, "more", 9).dialogues
    }


def test_both_file_forms_have_the_same_hash_and_other_rows_another(tmp_path):
    hashes = [read(write_rows(tmp_path / name), 100).sha256 for name in ("a.parquet", "a.jsonl")]
    other = read(write_rows(tmp_path / "b.jsonl", ROWS[1:]), 100).sha256
    assert hashes[0] == hashes[1] != other


def test_no_more_than_the_limit_is_read(tmp_path):
    corpus = read(write_rows(tmp_path / "e.jsonl"), 2)
    assert (len(corpus.dialogues), corpus.counts["rows"]) == (2, 2)


def test_a_folder_of_files_is_read_in_order(tmp_path):
    write_rows(tmp_path / "train-00001.parquet", ROWS[5:])
    write_rows(tmp_path / "train-00000.parquet", ROWS[:1])
    questions = [d.turns[0] for d in read(str(tmp_path), 100).dialogues]
    assert questions == ["Why is the sky blue?", "How do boats float?"]


def test_other_columns_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"e\.jsonl, line 1 has no column answer, only question, reply"):
        read(write_rows(tmp_path / "e.jsonl", [{"question": "a", "reply": "b"}]), 10)


@pytest.mark.parametrize("location", ["./nowhere.parquet", "https://example.org/eli5.parquet"])
def test_a_location_that_is_neither_file_nor_data_set_is_refused(location):
    with pytest.raises(DownloadError):
        read(location, 10)


@pytest.mark.parametrize(
    ("answer", "text"),
    [(6, "6"), (0.5, "0.5"), ("2019-03-01", "2019-03-01"), (date(2019, 3, 1), "2019-03-01"), (False, "false")],
)
def test_numbers_and_dates_are_read_as_text(tmp_path, answer, text):
    rows = [{"question": "Which?", "answer": answer}] * 2
    names = ["e.parquet"] if isinstance(answer, date) else ["e.parquet", "e.jsonl"]
    for name in names:
        assert [d.turns for d in read(write_rows(tmp_path / name, rows)).dialogues] == [("Which?", text)] * 2


@pytest.mark.parametrize("unfit", [None, "", [], {"text": "a"}])
def test_unfit_rows_are_counted_and_left_out_up_to_a_share(tmp_path, unfit):
    fit = {"question": "Why?", "answer": "So."}
    corpus = read(write_rows(tmp_path / "e.jsonl", [fit, {"question": "Why?", "answer": unfit}, *[fit] * 8]))
    assert len(corpus.dialogues) == 9
    assert corpus.counts["rows"] == 10
    with pytest.raises(ValueError, match=r"2 of 4 rows cannot be read, more than 20%; the first is e\.jsonl, line 3"):
        read(write_rows(tmp_path / "e.jsonl", [fit, fit, *[{"question": "Why?", "answer": unfit}] * 2]))


def test_a_column_missing_in_a_later_row_is_seen(tmp_path):
    rows = [{"question": "Why?", "answer": "So."}] * 9 + [{"question": "Why?", "reply": "So."}]
    corpus = read(write_rows(tmp_path / "e.jsonl", rows))
    assert (len(corpus.dialogues), corpus.counts) == (9, {"rows": 10, "rows_without_text": 1})


def test_an_empty_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"e\.jsonl is empty: fill it"):
        read(write_rows(tmp_path / "e.jsonl", []))


def test_the_real_sample_is_read_whole(real_data):
    corpus = read(str(real_data / "eli5_sample.jsonl"), 50_000)
    assert len(corpus.dialogues) == corpus.counts["rows"] == 500
    text = "\n".join(turn for dialogue in corpus.dialogues for turn in dialogue.turns)
    assert "URL_" not in text
    assert "[removed]" not in text


@pytest.mark.parametrize(
    ("name", "answers"),
    [
        ("int", ["6", "12", "18", "24", "30"]),
        ("float", ["0.5", "1.0", "1.5", "2.0", "2.5"]),
        ("date_strings", [f"2019-03-0{i}" for i in range(1, 6)]),
        ("mixed", ["6", "It is 12", "18", "It is 24", "30"]),
        ("one_null", [f"It is thing {i}." for i in (1, 2, 4, 5)]),
        ("bool", ["false", "true", "false", "true", "false"]),
        ("question_int", [f"It is thing {i}." for i in range(1, 6)]),
    ],
)
def test_reported_values_are_read_as_text(real_data, name, answers):
    path = real_data / "reports" / "12-answers-no-text" / f"{name}.jsonl"
    assert [dialogue.turns[1] for dialogue in read(str(path)).dialogues] == answers


def test_reported_objects_in_place_of_answers_are_refused(real_data):
    with pytest.raises(ValueError, match=r"object\.jsonl, line 1: its answer is an object, not a text"):
        read(str(real_data / "reports" / "12-answers-no-text" / "object.jsonl"))


def test_reported_metadata_beside_rows_is_passed_over(real_data):
    assert len(read(str(real_data / "reports" / "13-metadata-beside" / "snapshot")).dialogues) > 0


def test_a_reported_arrow_folder_is_read(real_data):
    assert len(read(str(real_data / "reports" / "13-metadata-beside" / "save_to_disk")).dialogues) > 0


def test_reported_test_rows_are_not_read_beside_training_rows(real_data, caplog):
    folder = real_data / "reports" / "13-metadata-beside" / "split_files"
    assert read(str(folder)).dialogues == read(str(folder / "train.jsonl")).dialogues
    assert "1 file(s) not read, being no training split: test.jsonl" in caplog.text


def test_a_reported_folder_of_one_slash_is_the_local_one(real_data, monkeypatch):
    monkeypatch.chdir(real_data / "reports" / "17-folder-of-one-slash")
    assert read("data/mine").location == "mine"


@pytest.mark.parametrize("name", ["corpora [v2]/own.jsonl", "own[1].jsonl"])
def test_reported_brackets_in_a_path_are_ordinary(real_data, name):
    assert len(read(str(real_data / "reports" / "21-brackets-in-path" / name)).dialogues) == 5
