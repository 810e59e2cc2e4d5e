"""Token files that do not hold what they should are refused, each in a line that says what to run."""

from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from llm.tokens import token_files
from llm.tokens.packing import TokenCorpus, write_corpus
from llm.tokens.token_files import read_corpus

OFFSETS, TURNS = np.array([0, 3, 3, 7]), np.array([0, 2, 3, 5])
CORPUS = TokenCorpus(np.arange(7, dtype=np.uint16), OFFSETS, TURNS, None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_corpus(tmp_path, "train", CORPUS)
    return tmp_path


def test_a_whole_corpus_is_read(folder: Path) -> None:
    assert read_corpus(folder, "train").ids.tolist() == [0, 1, 2, 3, 4, 5, 6]


def test_a_missing_file_says_what_to_run(folder: Path) -> None:
    (folder / "train.turns.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"train\.turns\.npy is missing: run `dvc repro tokenize`"):
        read_corpus(folder, "train")


@pytest.mark.parametrize(
    ("name", "array", "fault"),
    [
        ("offsets", np.array([0, 3, 9]), "places of dialogues are not those of 7 tokens"),
        ("offsets", np.array([0, 5, 3, 7]), "places of dialogues"),
        ("offsets", np.array([0.0, 7.0]), "their numbers are uint16, float64 and int64"),
        ("turns", np.array([0, 3, 7]), "places of turns are not those of 7 tokens"),
        ("turns", np.array([0, 2]), "a dialogue begins with no turn"),
        ("ids", np.arange(6, dtype=np.uint16), "places of dialogues are not those of 6 tokens"),
        ("ids", np.zeros((7, 1), np.uint16), "no rows of numbers"),
        ("supervised", np.ones(6, bool), r"\(6,\) marks of what is learned for 7 tokens"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(
    folder: Path, name: str, array: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]", fault: str
) -> None:
    np.save(folder / f"train.{name}.npy", array)
    with pytest.raises(ValueError, match=f"damaged .*{fault}.*: run `dvc repro tokenize`"):
        read_corpus(folder, "train")


@pytest.mark.parametrize("content", [b"", b"x", b"\x93NUMPY\x01\x00\x05\x00{'a':", b"PK\x03\x04", b"\x80\x04."])
def test_what_is_no_array_is_refused(folder: Path, content: bytes) -> None:
    (folder / "train.ids.npy").write_bytes(content)
    with pytest.raises(ValueError, match=r"token files .* are damaged"):
        read_corpus(folder, "train")


@pytest.mark.parametrize("kept", range(1, 140, 7))
def test_a_file_that_was_cut_off_is_refused(folder: Path, kept: int) -> None:
    path = folder / "train.ids.npy"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"token files .* are damaged"):
        read_corpus(folder, "train")


def test_an_error_without_words_is_a_fault_too(tmp_path, monkeypatch):
    """So atheris found: a header that asks for more memory than there is."""
    monkeypatch.setattr(token_files, "open_corpus", Mock(side_effect=MemoryError()))
    with pytest.raises(ValueError, match="are damaged"):
        read_corpus(tmp_path, "train")
