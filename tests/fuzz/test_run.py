"""What a run of atheris is taken for by what it left; atheris itself takes minutes."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.fuzz.__main__ import main, run

KEY = "0123456789"
FOUND = f"FOUND {KEY} 'llm/files.py:1: KeyError'\n"
DONE = "#2 INITED\nDone 500 runs in 60 second(s)\n"


@pytest.mark.parametrize(
    ("log", "kept", "exit_code", "code"),
    [
        (DONE, [], 0, 0),
        (DONE, [KEY], 0, 0),  # of an earlier run, and mended
        (FOUND + DONE, [KEY, f"{KEY}.txt"], 0, 1),  # of an earlier run, and not mended
        (DONE, [], 1, 1),
        ("", [], 0, 1),
        ("Done 0 runs in 0 second(s)\n", [], 0, 1),
    ],
)
def test_a_run_is_good_that_ran_and_found_nothing_old_or_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: str, kept: list[str], exit_code: int, code: int
) -> None:
    def process(words: list[str], stdout: object, **_: object) -> subprocess.CompletedProcess[bytes]:
        stdout.write(log.encode())  # type: ignore[attr-defined]
        return subprocess.CompletedProcess(words, exit_code)

    folder = tmp_path / "findings/zip"
    folder.mkdir(parents=True)
    for name in kept:
        (folder / name).touch()
    monkeypatch.setattr("tests.fuzz.__main__.subprocess.run", process)
    assert run("zip", 1.0, tmp_path) == code
    assert json.loads((tmp_path / "results.jsonl").read_text(encoding="utf-8"))["exit"] == exit_code


def test_without_atheris_nothing_is_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.__main__.importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("sys.argv", ["tests.fuzz", "zip"])
    assert main() == 1
