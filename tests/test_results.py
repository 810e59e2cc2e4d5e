import shutil
from pathlib import Path

import pytest

from stages.results import END, METRICS, START, main, number, render

ROOT = Path(__file__).resolve().parent.parent


def test_the_readme_holds_the_table_of_the_committed_metrics():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.partition(START)[2].partition(END)[0] == render(ROOT / METRICS)


def test_the_table_is_written_between_its_marks(tmp_path, monkeypatch):
    shutil.copytree(ROOT / METRICS, tmp_path / METRICS)
    (tmp_path / "README.md").write_text(f"before\n{START}old\n{END}\nafter\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    main()
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == f"before\n{START}{render()}{END}\nafter\n"


def test_missing_metrics_name_the_command(tmp_path):
    with pytest.raises(FileNotFoundError, match="run `dvc repro` first"):
        render(tmp_path)


def test_what_was_not_measured_is_a_dash():
    assert (number(None, 3), number(1.23456, 3)) == ("-", "1.235")
