import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from llm.files import write_json
from stages.results import END, METRICS, MODELS, START, main, number, render

ROOT = Path(__file__).resolve().parents[2]


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


@pytest.fixture
def measured(tmp_path):
    """A project with the metrics of an evaluation: bits per byte 1, 2, ... in the order of the table."""
    for i, name in enumerate(MODELS, 1):
        bpb = None if name in ("retrieval", "frequent") else float(i)
        metrics = {
            "bpb": {"all": bpb, "dialogue": bpb, "eli5": bpb, "technical": bpb},
            "text": {"bleu": None, "chrf": None},
            "choice": {"mc1": None},
            "truth": {"nearer_correct": None},
        }
        detail = {"name": f"model {name}", "bpb": {"all": {"low": i - 0.5, "high": i + 0.5}} if bpb else {}}
        write_json(tmp_path / METRICS / f"{name}.json", metrics)
        write_json(tmp_path / METRICS / "detail" / f"{name}.json", detail)
    line = {"difference": -1.0, "low": -1.5, "high": -0.5, "verdict": "better on these items; one seed"}
    compared = {"scratch - ngram5": {"lines": {"bpb.all": line}}, "mistral - base": None, "mistral - scratch": None}
    write_json(tmp_path / METRICS / "detail" / "compare.json", compared)
    write_json(tmp_path / METRICS / "detail" / "settings.json", {})
    return tmp_path


def test_the_table_is_written_between_its_marks(measured, monkeypatch):
    (measured / "README.md").write_text(f"before\n{START}old\n{END}\nafter\n", encoding="utf-8")
    monkeypatch.chdir(measured)
    main()
    assert (measured / "README.md").read_text(encoding="utf-8") == f"before\n{START}{render()}{END}\nafter\n"


def test_a_model_below_the_5_gram_is_marked(measured):
    lines = render(measured / METRICS).splitlines()
    assert [line.split("|")[1].strip() for line in lines if line.startswith("| `")] == [
        *("`mistral`", "`base`", "`scratch`", "`ngram5`"),
        *("`unigram` ▼", "`compressor` ▼", "`retrieval`", "`frequent`", "`untrained` ▼"),
    ]
    assert any(line.startswith("▼: more bits per byte than `ngram5`") for line in lines)


def test_a_model_that_only_replies_has_a_dash_for_its_bits(measured):
    (line,) = (line for line in render(measured / METRICS).splitlines() if line.startswith("| `frequent`"))
    assert line == "| `frequent` | - | - | - | - | - | - | - | - |"


def test_a_pair_of_which_one_is_not_there_has_no_line(measured):
    compared = [line for line in render(measured / METRICS).splitlines() if line.startswith("- ")]
    assert compared == ["- `scratch - ngram5`: -1.000 (-1.500 to -0.500): better on these items; one seed"]


def test_missing_metrics_name_the_command(tmp_path):
    with pytest.raises(FileNotFoundError, match="run `dvc repro` first"):
        render(tmp_path)


def test_what_was_not_measured_is_a_dash():
    assert (number(None, 3), number(1.23456, 3)) == ("-", "1.235")
