"""Which files of a folder are read: data, not what lies beside it, and no other split unasked."""

import os
from pathlib import Path

import pytest

from llm.fetching.download import DownloadError
from llm.sources.local_files import ENDINGS, TEXT_ENDINGS, find_files, training_files

ROW = '{"question": "Why?", "answer": "So."}\n'


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(ROW, encoding="utf-8")
    return folder


def names(folder: Path) -> list[str]:
    return [file.relative_to(folder).as_posix() for file in training_files(folder, ENDINGS + TEXT_ENDINGS)]


def test_metadata_and_hidden_files_are_passed_over(tmp_path: Path) -> None:
    fill(tmp_path, "b.jsonl", "a/c.csv.gz", "README.md", "LICENSE.txt", "dataset_infos.json", "state.json")
    fill(tmp_path, ".git/config.json", ".hidden.jsonl", "__MACOSX/b.jsonl", "cache-1f.arrow", "picture.png")
    assert names(tmp_path) == ["b.jsonl", "a/c.csv.gz"]


def test_brackets_and_spaces_in_paths_are_ordinary(tmp_path: Path) -> None:
    folder = fill(tmp_path / "corpora [v2] *?", "own[1].jsonl", "[a-z].txt")
    assert names(folder) == ["[a-z].txt", "own[1].jsonl"]
    assert find_files(folder / "own[1].jsonl") == [folder / "own[1].jsonl"]


def test_test_files_are_not_training_rows(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(tmp_path, "train.jsonl", "data/test-00000-of-00001.jsonl", "data/train-00000-of-00001.jsonl", "valid.jsonl")
    assert names(tmp_path) == ["train.jsonl", "data/train-00000-of-00001.jsonl"]
    assert "2 file(s) not read, being no training split: valid.jsonl, data/test-00000-of-00001.jsonl" in caplog.text
    assert training_files(tmp_path / "valid.jsonl") == [tmp_path / "valid.jsonl"]


def test_a_contest_is_no_test(tmp_path: Path) -> None:
    assert names(fill(tmp_path, "contest.jsonl", "devotion.txt", "values.csv")) == [
        "contest.jsonl",
        "devotion.txt",
        "values.csv",
    ]


def test_links_may_lead_in_a_circle(tmp_path: Path) -> None:
    fill(tmp_path, "a/own.jsonl")
    (tmp_path / "a/again").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "elsewhere").symlink_to(tmp_path / "a", target_is_directory=True)
    os.symlink("loop.jsonl", tmp_path / "loop.jsonl")
    assert names(tmp_path) == ["a/own.jsonl"]


def refused(path: Path) -> str:
    with pytest.raises(DownloadError) as raised:
        training_files(path)
    return str(raised.value)


def test_what_holds_no_data_is_refused_with_what_there_is(tmp_path: Path) -> None:
    assert "there is no such file or folder" in refused(tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    assert "nothing else either" in refused(tmp_path / "empty")
    assert "only thesis.docx: save it as plain text (.txt) first" in refused(fill(tmp_path / "b", "thesis.docx"))
    assert "own.zip has none of the endings that are read" in refused(fill(tmp_path, "own.zip") / "own.zip")
    assert "holds no training rows, only test.jsonl" in refused(fill(tmp_path / "c", "test.jsonl"))
    os.symlink("loop", tmp_path / "loop")
    assert "it cannot be opened (Too many levels of symbolic links)" in refused(tmp_path / "loop")


@pytest.mark.parametrize(
    ("place", "found"),
    [
        ("13-metadata-beside/snapshot", ["own.jsonl"]),
        ("13-metadata-beside/split_files", ["train.jsonl"]),
        ("13-metadata-beside/save_to_disk", ["data-00000-of-00001.arrow"]),
        ("17-folder-of-one-slash/data/mine", ["own.jsonl"]),
        ("21-brackets-in-path/corpora [v2]", ["own.jsonl"]),
    ],
)
def test_reported_folders(real_data: Path, place: str, found: list[str]) -> None:
    assert names(real_data / "reports" / place) == found
