"""Which files of a folder hold training rows, and what is said of damaged ones."""

import json

import pytest
from datasets import Dataset, DatasetDict
from pyarrow import feather, table

from llm.download import DownloadError
from llm.sources.hub_rows import local_files
from llm.sources.local_files import file_rows, find_files, split_files

ROWS = [{"question": "Why?", "answer": "So."}, {"question": "And?", "answer": "That."}]


def write(path, content=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else "".join(json.dumps(row) + "\n" for row in content)
    path.write_text(text, encoding="utf-8")
    return path


def names(files, folder):
    return [file.relative_to(folder).as_posix() for file in files]


def rows(path):
    return [row for _, row in file_rows(path)]


@pytest.mark.parametrize(
    "name",
    ["dataset_infos.json", "state.json", "README.md", ".cache/a.jsonl", "__MACOSX/own.jsonl", "cache-1.arrow", "a.txt"],
)
def test_what_is_beside_the_rows_is_passed_over(tmp_path, name):
    write(tmp_path / "own.jsonl", ROWS)
    write(tmp_path / name, "{}")
    assert names(find_files(tmp_path), tmp_path) == ["own.jsonl"]


@pytest.mark.parametrize(
    ("there", "read"),
    [
        (["train.jsonl", "test.jsonl"], ["train.jsonl"]),
        (["data/train-0.parquet", "data/train-1.parquet", "data/validation-0.parquet"], None),
        (["train/a.jsonl", "test/a.jsonl"], ["train/a.jsonl"]),
        (["own.jsonl", "own_test.jsonl"], ["own.jsonl"]),
        (["contest.jsonl", "latest.jsonl"], ["contest.jsonl", "latest.jsonl"]),
    ],
)
def test_only_the_training_split_is_read(tmp_path, caplog, there, read):
    for name in there:
        write(tmp_path / name, ROWS)
    read = read or there[:2]
    assert names(split_files(tmp_path), tmp_path) == read
    assert ("not read, being not of the split train" in caplog.text) == (len(read) < len(there))


def test_another_split_is_read_by_its_name(tmp_path):
    for name in ("train.jsonl", "test.jsonl"):
        write(tmp_path / name, ROWS)
    assert names(split_files(tmp_path, "test"), tmp_path) == ["test.jsonl"]


def test_test_rows_alone_are_refused_but_by_their_own_name(tmp_path):
    path = write(tmp_path / "test.jsonl", ROWS)
    with pytest.raises(
        DownloadError, match=r"holds no file of the split train, only test\.jsonl: give the file itself"
    ):
        split_files(tmp_path)
    assert split_files(path) == [path]


def test_a_folder_without_rows_and_a_path_to_nothing_are_refused(tmp_path):
    write(tmp_path / "notes.txt")
    with pytest.raises(DownloadError, match="holds no file of rows"):
        find_files(tmp_path)
    with pytest.raises(DownloadError, match="there is no file or folder"):
        find_files(tmp_path / "nowhere")


def test_an_existing_folder_comes_before_a_data_set_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert local_files("data/mine") == []
    write(tmp_path / "data" / "mine" / "own.jsonl", ROWS)
    assert [file.as_posix() for file in local_files("data/mine")] == ["data/mine/own.jsonl"]


def test_brackets_and_spaces_in_a_path_are_ordinary(tmp_path):
    path = write(tmp_path / "corpora [v2]" / "own[1] *.jsonl", ROWS)
    assert find_files(path.parent) == [path]
    assert rows(path) == ROWS


def test_a_data_set_saved_to_disk_is_read_in_order(tmp_path):
    many = [{"question": str(i), "answer": "So."} for i in range(30)]
    Dataset.from_list(many).save_to_disk(tmp_path / "own", num_shards=3)
    files = split_files(tmp_path / "own")
    assert [row for file in files for row in rows(file)] == many
    both = DatasetDict({"train": Dataset.from_list(ROWS), "test": Dataset.from_list(ROWS)})
    both.save_to_disk(tmp_path / "both")
    assert names(split_files(tmp_path / "both"), tmp_path / "both") == ["train/data-00000-of-00001.arrow"]


def test_an_arrow_file_of_the_other_kind_is_read(tmp_path):
    feather.write_feather(table({"a": [1, 2]}), tmp_path / "a.arrow", compression="uncompressed")
    assert rows(tmp_path / "a.arrow") == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("name", ["own.json", "own.jsonl"])
def test_json_may_be_a_list_or_lines_with_a_mark_before_and_empty_ones(tmp_path, name):
    assert rows(write(tmp_path / name, "\n" + json.dumps(ROWS, indent=1))) == ROWS
    path = tmp_path / name
    path.write_text("\n".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8-sig")
    assert rows(path) == ROWS


def test_a_row_is_placed_by_file_and_line(tmp_path):
    path = write(tmp_path / "own.jsonl", f"{json.dumps(ROWS[0])}\n\n{json.dumps(ROWS[1])}\n")
    assert [place for place, _ in file_rows(path)] == ["own.jsonl, line 1", "own.jsonl, line 3"]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.jsonl", b'{"a": 1}\n{"a"', "a.jsonl, line 2 is not JSON"),
        ("a.jsonl", b"[1, 2]", "a.jsonl, row 1 is 1, not an object"),
        ("a.json", b'[{"a": 1}', "a.json is not a whole JSON list"),
        ("a.jsonl", b'"text"\n', 'a.jsonl, row 1 is "text", not an object'),
        ("a.jsonl", b'{"a": "\xe9"}', "a.jsonl is not UTF-8"),
        ("a.json", b"[" * 100_000, "a.json is nested too deeply"),
        ("a.parquet", b"", "a.parquet is damaged, or no parquet file"),
        ("a.parquet", b"<html></html>", "a.parquet is damaged, or no parquet file"),
        ("a.arrow", b"no arrow", "a.arrow is damaged, or no arrow file"),
        ("a.parquet", b"version https://git-lfs.github.com/spec/v1\n", "a.parquet is a Git LFS pointer"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, name, content, told):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError) as refused:
        rows(tmp_path / name)
    assert told in str(refused.value)
