"""Another run beside the one at hand, read from what git holds of it."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from llm.__main__ import main
from stages import report
from tests.reported import copy_committed
from tests.stages.test_evaluate import project  # noqa: F401  a fixture


@pytest.fixture
def committed(project, tmp_path, monkeypatch):  # noqa: F811
    """A repository whose last commit holds a run and its report."""
    folder = tmp_path / "repository"
    shutil.copytree(project / "metrics", folder / "metrics")
    copy_committed(folder)
    shutil.copytree(project / "models/judge", folder / "models/judge", dirs_exist_ok=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TANDEM_COST", str(tmp_path / ".cost"))
    report.main()
    author = ["-c", "user.name=t", "-c", "user.email=t@t"]
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], [*author, "commit", "-qm", "a run"]):
        subprocess.run(["git", *command], check=True)
    subprocess.run(["dvc", "init", "-q"], check=True, capture_output=True)
    return folder


def test_another_run_stands_beside_this_one(committed, capsys):
    params = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    Path("params.yaml").write_text(yaml.safe_dump({**params, "seed": 7}), encoding="utf-8")
    assert main(["report", "--against", "main", "--out", "both.html"]) == 0
    assert capsys.readouterr().out == "both.html holds the report with main beside it: open it in a browser\n"
    page = Path("both.html").read_text(encoding="utf-8")
    assert '<section id="beside-main"' in page
    assert "Both sides are equal." in page  # of every figure: it is the same run
    assert "<code>seed</code>" in page and "All figures of scratch" in page


def test_a_revision_that_is_none_is_named(committed, capsys):
    assert main(["report", "--against", "nothing"]) == 1
    assert "nothing is no commit, branch or experiment here" in capsys.readouterr().err
    assert not Path("metrics/report_against.html").exists()
