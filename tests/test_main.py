"""The command line `python -m llm`; what its commands compute is tested where a run exists."""

import os
import subprocess
import sys

import pytest

from llm.__main__ import main
from llm.commands import model_names, split_side
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


def run_elsewhere(repository, folder, *arguments):
    """Python in the folder, with nothing but the library."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder, capture_output=True, text=True, env={"PYTHONPATH": str(repository)},
    )  # fmt: skip


@pytest.mark.parametrize("command", [["compare", "scratch", "mistral"], ["rescore"]])
def test_a_refusal_is_one_line_and_exit_code_1(command, tmp_path, repository):
    (tmp_path / "params.yaml").touch()
    done = run_elsewhere(repository, tmp_path, "-m", "llm", *command)
    assert done.returncode == 1
    assert (
        done.stderr
        == "metrics/detail/settings.json is missing: run `dvc repro evaluate`; a committed run is named as HEAD:MODEL\n"
    )


@pytest.mark.parametrize(
    ("sides", "line"),
    [
        (("scratch,", "base"), "an empty name in 'scratch,': give runs as MODEL or REVISION:MODEL"),
        (("scratch,base", "base"), "a side is several seeds of one model, not scratch, base: compare these two by two"),
    ],
)
def test_sides_that_cannot_be_compared_are_named(sides, line):
    with pytest.raises(ValueError, match=line):
        model_names([split_side(side, None) for side in sides])


@pytest.mark.parametrize("command", [["compare", "scratch", "mistral"], ["export", "mistral", "x"]])
def test_another_folder_than_the_project_s_is_named(command, tmp_path, repository):
    done = run_elsewhere(repository, tmp_path, "-m", "llm", *command)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"run this in the project's folder: {tmp_path} has no params.yaml (")


def test_an_interpreter_without_the_environment_is_named_with_what_to_do(tmp_path, repository):
    done = run_elsewhere(repository, tmp_path, "-S", "-m", "llm", "compare", "a", "b")  # -S: no installed packages
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line == f"{sys.executable} has no torch: run `make install`, then `. .venv/bin/activate`"


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (RuntimeError("a\ndefect"), 1, "RuntimeError: a defect; the traceback is in logs/llm.log\n"),
        (OSError("a\nb"), 1, "a b\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_every_end_is_one_line(tmp_path, monkeypatch, capsys, error, code, told):
    def fail(words):
        raise error

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("llm.commands.run_command", fail)
    assert main(["results"]) == code
    assert capsys.readouterr().err == told
    assert (tmp_path / "logs/llm.log").is_file() == isinstance(error, RuntimeError)


PRINTS = """
import sys
from types import SimpleNamespace

sys.modules["llm.commands"] = SimpleNamespace(run_command=lambda _: print("x"))
from llm.__main__ import main

sys.exit(main(["results"]))
"""


@pytest.mark.parametrize("buffered", ["", "1"], ids=["at the end", "at a line"])
def test_a_reader_that_has_enough_ends_the_command_silently(repository, buffered):
    """As `| head` does."""
    environment = os.environ | {"PYTHONUNBUFFERED": buffered}
    command = subprocess.Popen(
        [sys.executable, "-c", PRINTS],
        cwd=repository, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    command.stdout.close()
    assert command.stderr.read() == ""
    command.stderr.close()
    assert command.wait(60) == 141


LOSES = """
import runpy, signal, sys, time
from types import SimpleNamespace

class Lost:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

def run(_):
    Lost()
    time.sleep(60)

sys.modules["llm.commands"] = SimpleNamespace(run_command=run)
sys.argv = ["llm", "results"]
runpy.run_module("llm", run_name="__main__")
"""


def test_a_ctrl_c_that_falls_into_a_destructor_is_not_lost(repository):
    done = subprocess.run([sys.executable, "-c", LOSES], cwd=repository, capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_the_readme_receives_the_table_of_the_last_run(tmp_path, monkeypatch, capsys):
    (tmp_path / "README.md").write_text(f"before\n{START}old\n{END}\n", encoding="utf-8")
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics/results.md").write_text("new\n", encoding="utf-8")
    monkeypatch.setattr("llm.commands.HERE", tmp_path)
    assert main(["results"]) == 0
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == f"before\n{START}new\n{END}\n"


def test_without_a_run_there_is_no_table(tmp_path, monkeypatch, capsys):
    (tmp_path / "params.yaml").touch()
    monkeypatch.setattr("llm.commands.HERE", tmp_path)
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
