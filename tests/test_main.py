"""The command line `python -m llm`; what its commands compute is tested where a run exists."""

import subprocess
import sys

import pytest

from llm.__main__ import main
from llm.evaluation.result_table import END, START, put_into_page


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


def test_the_readme_receives_the_table_of_the_last_run(tmp_path, monkeypatch, capsys):
    (tmp_path / "README.md").write_text(f"before\n{START}old\n{END}\n", encoding="utf-8")
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics/results.md").write_text("new\n", encoding="utf-8")
    monkeypatch.setattr("llm.__main__.HERE", tmp_path)
    assert main(["results"]) == 0
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == f"before\n{START}new\n{END}\n"


def test_without_a_run_there_is_no_table(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("llm.__main__.HERE", tmp_path)
    assert main(["results"]) == 1
    assert capsys.readouterr().err == "metrics/results.md is missing: run `dvc repro` first\n"


def test_the_committed_readme_holds_the_committed_table(repository):
    """Those in the working tree may be of another machine's run."""
    if not (repository / ".git").exists():
        pytest.skip("not a git checkout: there is no committed README to compare")
    show = ["git", "-C", str(repository), "show"]
    readme, table = (
        subprocess.run([*show, f"HEAD:{name}"], capture_output=True, text=True, check=True).stdout
        for name in ("README.md", "metrics/results.md")
    )
    assert put_into_page(readme, table) == readme


def test_no_command_is_a_usage_error(capsys):
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
    assert "COMMAND" in capsys.readouterr().err
