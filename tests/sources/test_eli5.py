"""ELI5 from files of the hub's form, and the hub itself out of reach."""

import json
import subprocess
import sys

import pytest
from datasets import Dataset

from llm.download import DownloadError
from llm.sources.eli5 import Eli5Config, read_eli5

ROWS = [
    {"question": "ELI5: Why is the sky blue?", "answer": "Light scatters &amp; blue most ([more](_URL_0_))."},
    {"question": "Why is the sky blue?", "answer": "Air spreads blue light.\n\n\n\nRed less."},
    {"question": "Why is ice slippery? [removed]", "answer": "A thin layer melts."},
    {"question": "How do planes fly?", "answer": "[deleted]"},
    {"question": "_URL_0_", "answer": "It is a link."},
    {"question": "How do boats float?", "answer": "They push water away."},
]


def write_rows(path, rows=ROWS):
    if path.suffix == ".parquet":
        Dataset.from_list(rows).to_parquet(path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", ["eli5.parquet", "eli5.jsonl"])
def test_local_rows_become_cleaned_dialogues(tmp_path, name):
    corpus = read_eli5(Eli5Config(write_rows(tmp_path / name), "pair", "main"), "eli5", 100)
    assert [dialogue.turns for dialogue in corpus.dialogues] == [
        ("Why is the sky blue?", "Light scatters & blue most (more)."),
        ("Why is the sky blue?", "Air spreads blue light.\n\nRed less."),
        ("Why is ice slippery?", "A thin layer melts."),
        ("How do boats float?", "They push water away."),
    ]
    assert corpus.counts == {"rows": 6, "answers_removed": 1, "rows_without_text": 1}
    assert (corpus.location, corpus.revision) == (name, None)


def test_rows_that_ask_the_same_are_one_group_and_ids_differ(tmp_path):
    first, second, third, _ = read_eli5(
        Eli5Config(write_rows(tmp_path / "e.jsonl"), "pair", "main"), "eli5", 100
    ).dialogues
    assert first.group == second.group != third.group
    assert first.id != second.id


def test_both_file_forms_have_the_same_hash_and_other_rows_another(tmp_path):
    hashes = [
        read_eli5(Eli5Config(write_rows(tmp_path / name), "pair", "main"), "eli5", 100).sha256
        for name in ("a.parquet", "a.jsonl")
    ]
    other = read_eli5(Eli5Config(write_rows(tmp_path / "b.jsonl", ROWS[1:]), "pair", "main"), "eli5", 100).sha256
    assert hashes[0] == hashes[1] != other


def test_no_more_than_the_limit_is_read(tmp_path):
    corpus = read_eli5(Eli5Config(write_rows(tmp_path / "e.jsonl"), "pair", "main"), "eli5", 2)
    assert (len(corpus.dialogues), corpus.counts["rows"]) == (2, 2)


def test_a_folder_of_files_is_read_in_order(tmp_path):
    write_rows(tmp_path / "train-00001.parquet", ROWS[5:])
    write_rows(tmp_path / "train-00000.parquet", ROWS[:1])
    questions = [d.turns[0] for d in read_eli5(Eli5Config(str(tmp_path), "pair", "main"), "eli5", 100).dialogues]
    assert questions == ["Why is the sky blue?", "How do boats float?"]


def test_other_columns_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"e\.jsonl has no column answer, only question, reply"):
        read_eli5(
            Eli5Config(write_rows(tmp_path / "e.jsonl", [{"question": "a", "reply": "b"}]), "pair", "main"), "eli5", 10
        )


@pytest.mark.parametrize("location", ["./nowhere.parquet", "https://example.org/eli5.parquet"])
def test_a_location_that_is_neither_file_nor_data_set_is_refused(location):
    with pytest.raises(DownloadError):
        read_eli5(Eli5Config(location, "pair", "main"), "eli5", 10)


def test_the_hub_out_of_reach_is_one_line(tmp_path):
    """In a process of its own: the hub's address is fixed when its package is first imported."""
    code = """
from llm.download import DownloadError
from llm.sources.eli5 import Eli5Config, read_eli5
try:
    read_eli5(Eli5Config("sentence-transformers/eli5", "pair", "abc123"), "eli5", 10)
except DownloadError as error:
    print(error)
"""
    environment = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "PYTHONPATH": ":".join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    (said,) = done.stdout.splitlines()
    assert said.startswith("cannot read sentence-transformers/eli5 at revision abc123 from the Hugging Face hub: ")
    assert "local path" in said


def test_the_real_sample_is_read_whole(real_data):
    corpus = read_eli5(Eli5Config(str(real_data / "eli5_sample.jsonl"), "pair", "main"), "eli5", 50_000)
    assert len(corpus.dialogues) == corpus.counts["rows"] == 500
    text = "\n".join(turn for dialogue in corpus.dialogues for turn in dialogue.turns)
    assert "URL_" not in text
    assert "[removed]" not in text
