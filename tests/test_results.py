import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from stages.results import END, METRICS, START, main, number, render

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def committed(tmp_path):
    """The committed README and metrics: those in the working tree may be of another machine's run."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: there is no committed README to compare")
    archive = subprocess.run(
        ["git", "archive", "HEAD", "README.md", str(METRICS)], cwd=ROOT, capture_output=True, check=True
    )
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(tmp_path, filter="data")
    return tmp_path


def test_the_readme_holds_the_table_of_the_committed_metrics(committed):
    text = (committed / "README.md").read_text(encoding="utf-8")
    assert text.partition(START)[2].partition(END)[0] == render(committed / METRICS)


def test_the_table_is_written_between_its_marks(committed, monkeypatch):
    (committed / "README.md").write_text(f"before\n{START}old\n{END}\nafter\n", encoding="utf-8")
    monkeypatch.chdir(committed)
    main()
    assert (committed / "README.md").read_text(encoding="utf-8") == f"before\n{START}{render()}{END}\nafter\n"


def test_missing_metrics_name_the_command(tmp_path):
    with pytest.raises(FileNotFoundError, match="run `dvc repro` first"):
        render(tmp_path)


def test_what_was_not_measured_is_a_dash():
    assert (number(None, 3), number(1.23456, 3)) == ("-", "1.235")
