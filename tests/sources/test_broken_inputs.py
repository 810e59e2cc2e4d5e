"""Each broken input is refused in one line that names the file and says what to do; what is only odd is read."""

from pathlib import Path

import pytest

from llm.__main__ import main
from tests.fetching.test_download import Server, server  # noqa: F401  a fixture
from tests.sources.broken_inputs import CASES, line_of, make, rows, said


@pytest.mark.parametrize("case", CASES)
def test_a_broken_input_is_told_in_one_line(case: str, tmp_path: Path) -> None:
    line = line_of(str(make(tmp_path, case)))
    assert line.startswith(CASES[case][2])
    assert "\n" not in line


@pytest.mark.parametrize("case", CASES)
def test_check_data_ends_with_1_and_a_line(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-data", str(make(tmp_path, case))]) == 1
    told = capsys.readouterr()
    assert len(told.err.splitlines()) == 1
    assert "params.yaml" not in told.out


def test_what_a_server_has_not_is_told_in_one_line(server: Server) -> None:  # noqa: F811
    line = line_of(f"{server.url}/gone.jsonl")
    assert "the server answered 404" in line
    assert "\n" not in line


def test_odd_orders_of_messages_are_read(tmp_path: Path) -> None:
    user, assistant = ("user", "Hi."), ("assistant", "Ho.")
    odd = [said(assistant, user, assistant), said(user, user, assistant), said(user, assistant, assistant)]
    (tmp_path / "own.jsonl").write_bytes(rows(*odd))
    assert line_of(str(tmp_path / "own.jsonl")) == ""
