"""The command line `python -m llm`; what its commands compute is tested where a run exists."""

import subprocess
import sys

import pytest

from llm.__main__ import main


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--help"], ["compare", "rescore", "which of two models"]),
        (["compare", "--help"], ["[REVISION:]MODEL", "compare scratch mistral", "--model"]),
        (["rescore", "--help"], ["without a model", "--out FOLDER"]),
    ],
)
def test_help_says_what_a_command_does(words, shown, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words)
    page = capsys.readouterr().out
    assert ended.value.code == 0
    assert [text for text in shown if text not in page] == []


@pytest.mark.parametrize("command", [["compare", "scratch", "mistral"], ["rescore"]])
def test_a_refusal_is_one_line_and_exit_code_1(command, tmp_path, repository):
    done = subprocess.run(
        [sys.executable, "-m", "llm", *command],
        cwd=tmp_path, capture_output=True, text=True, env={"PYTHONPATH": str(repository)},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "metrics/detail/settings.json is missing: run `dvc repro evaluate`\n"


def test_no_command_is_a_usage_error(capsys):
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
    assert "COMMAND" in capsys.readouterr().err
