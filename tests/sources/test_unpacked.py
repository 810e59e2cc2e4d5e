"""Gzip files that unpack to far more than they are."""

import gzip
from pathlib import Path

import pytest

from llm.sources import local_rows
from llm.sources.local_rows import file_rows, file_text


@pytest.mark.parametrize("name", ["own.csv.gz", "own.jsonl.gz", "own.json.gz"])
def test_a_gzip_file_of_line_breaks_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:  # gzip packs them 1,000 times
    monkeypatch.setattr("llm.sources.unpacked.ALWAYS_BYTES", 1 << 10)
    (tmp_path / name).write_bytes(gzip.compress(b"\n" * (1 << 18)))
    with pytest.raises(ValueError, match=rf"{name} unpacks to more than [\d,]+ bytes, .*: unpack it yourself"):
        list(file_rows(tmp_path / name))


def test_a_packed_file_that_is_held_as_a_whole_is_measured_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_rows, "MAX_WHOLE_BYTES", 1 << 14)
    texts = {"own.txt.gz": b"word\n" * (1 << 13), "own.txt": "word\n".encode("utf-16") * (1 << 13)}
    (tmp_path / "utf16.txt.gz").write_bytes(gzip.compress(texts["own.txt"]))
    (tmp_path / "own.txt.gz").write_bytes(gzip.compress(texts["own.txt.gz"]))
    for name in ("own.txt.gz", "utf16.txt.gz"):
        with pytest.raises(ValueError, match=r"16,38\d bytes or more and would be held in memory"):
            file_text(tmp_path / name)
    (tmp_path / "own.json.gz").write_bytes(gzip.compress(b"[" + b'"word",\n' * (1 << 13)))
    with pytest.raises(ValueError, match="would be held in memory as a whole: write it as JSON lines"):
        list(file_rows(tmp_path / "own.json.gz"))


def test_a_small_gzip_file_may_repeat_itself(tmp_path: Path) -> None:
    (tmp_path / "own.txt.gz").write_bytes(gzip.compress(b"word\n" * (1 << 18)))
    assert file_text(tmp_path / "own.txt.gz") == "word\n" * (1 << 18)
