"""The stage download@SOURCE in a folder of its own."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from llm.dialogue import n_exchanges, read_dialogues
from llm.files import file_sha256

ITEM = {"id": "a-1", "topic": "t", "turns": ["What is a loss?", "A number that says how wrong it was."]}


@pytest.fixture
def workspace(tmp_path, repository):
    """A folder with params.yaml and small curated sets."""
    shutil.copy(repository / "presets" / "laptop.yaml", tmp_path / "params.yaml")
    (tmp_path / "data" / "curated").mkdir(parents=True)
    for source in ("eli5", "technical"):
        (tmp_path / "data" / "curated" / f"{source}.jsonl").write_text(json.dumps(ITEM) + "\n", encoding="utf-8")
    return tmp_path


def run(workspace, repository, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(repository), "HF_HUB_OFFLINE": "1", "HF_HOME": str(workspace / "hf")}
    command = [sys.executable, "-m", "stages.download", *arguments]
    return subprocess.run(command, cwd=workspace, env=environment, capture_output=True, text=True)


def change(workspace, old, new):
    path = workspace / "params.yaml"
    text = path.read_text(encoding="utf-8")
    assert old in text, old
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.parametrize(("source", "served"), [("eli5", ["curated"]), ("technical", ["docs", "curated"])])
def test_a_source_is_written_with_its_provenance(workspace, repository, source, served):
    done = run(workspace, repository, source)
    assert done.returncode == 0, done.stderr
    path = workspace / "data" / "raw" / f"{source}.jsonl"
    record = json.loads((workspace / "data" / "raw" / f"{source}.provenance.json").read_text(encoding="utf-8"))
    assert [entry["provider"] for entry in record["served"]] == served
    assert record["exchanges"] == sum(map(n_exchanges, read_dialogues(path)))
    assert record["sha256"] == file_sha256(path)
    assert str(workspace) not in json.dumps(record)


def test_equal_runs_write_equal_bytes(workspace, repository):
    files = []
    for _ in range(2):
        run(workspace, repository, "eli5")
        files.append([path.read_bytes() for path in sorted((workspace / "data" / "raw").glob("eli5*"))])
    assert files[0] == files[1]
    assert len(files[0]) == 2


def test_the_limit_of_params_holds(workspace, repository):
    change(workspace, "limit: 100000", "limit: 600")
    assert run(workspace, repository, "dialogue").returncode == 0
    total = sum(map(n_exchanges, read_dialogues(workspace / "data" / "raw" / "dialogue.jsonl")))
    assert 500 < total <= 600


def test_the_hub_out_of_reach_ends_in_one_line(workspace, repository):
    change(workspace, "\n    - curated\n", "\n    - eli5\n    - curated\n")
    done = run(workspace, repository, "eli5")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert (
        "eli5: eli5 failed: HF_HUB_OFFLINE forbids asking the hub, its cache holds no copy"
        in done.stderr.splitlines()[-1]
    )
    assert not (workspace / "data" / "raw" / "eli5.jsonl").exists()


def test_the_hub_out_of_reach_falls_back_where_that_is_allowed(workspace, repository):
    change(workspace, "\n    - curated\n", "\n    - eli5\n    - curated\n")
    change(workspace, "fallback: false", "fallback: true")
    assert run(workspace, repository, "eli5").returncode == 0
    record = json.loads((workspace / "data" / "raw" / "eli5.provenance.json").read_text(encoding="utf-8"))
    assert [entry["provider"] for entry in record["failed"]] == ["eli5"]
    assert [entry["provider"] for entry in record["served"]] == ["curated"]


@pytest.mark.parametrize("arguments", [[], ["films"]])
def test_an_unknown_source_is_refused(workspace, repository, arguments):
    done = run(workspace, repository, *arguments)
    assert done.returncode == 1
    assert "SOURCE one of dialogue, eli5, technical" in done.stderr
