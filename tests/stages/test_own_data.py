import json
import os
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from dvc.utils.hydra import apply_overrides

from stages.check_params import Params
from stages.own_data import EPOCHS, MIN_STEPS, absolute, fitting_steps, sources_section, with_sources
from stages.params import load
from stages.preset import apply_preset

CHAT = {"messages": [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Hello."}]}


@pytest.fixture
def workspace(tmp_path, repository, monkeypatch):
    """A folder with the preset `laptop`, and chats and a book in folders of awkward names."""
    (tmp_path / "presets").symlink_to(repository / "presets")
    (tmp_path / "params.yaml").write_bytes((repository / "presets/laptop.yaml").read_bytes())
    (tmp_path / "my chats [1]").mkdir()
    lines = "".join(json.dumps(CHAT) + "\n" for _ in range(3))
    (tmp_path / "my chats [1]" / "a, #1 'x': y.jsonl").write_text(lines, encoding="utf-8")
    (tmp_path / "bük.txt").write_text("A text of some words.\n\n" * 9, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(workspace, repository, *arguments):
    command = [sys.executable, "-m", "stages.own_data", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    return subprocess.run(command, cwd=workspace, env=environment, capture_output=True, encoding="utf-8")


def lines_but_of_sources(text):
    """Without the sections that name the sources, and the two lines that may be lowered."""
    lines = [line for line in text.splitlines() if not line.startswith(("  max_steps: ", "  eval_every: "))]
    for section, following in (("download:", "clean:"), ("mixture:", "train:")):
        lines = lines[: lines.index(section)] + lines[lines.index(following) - 1 :]
    return lines


def test_the_texts_become_the_only_sources_and_all_else_stays_with_its_comments(workspace, repository):
    before = (workspace / "params.yaml").read_text(encoding="utf-8")
    done = run(workspace, repository, "my chats [1]", "bük.txt", "--licence", "mine: 'all'")
    assert done.returncode == 0, done.stderr
    after = (workspace / "params.yaml").read_text(encoding="utf-8")
    assert lines_but_of_sources(after) == lines_but_of_sources(before)
    sources = load("", Params).download
    assert {name: source.local.location for name, source in sources.items()} == {
        "own": str(workspace / "my chats [1]"),
        "own_2": str(workspace / "bük.txt"),
    }
    assert load("mixture", dict[str, float]) == {"own": 1.0, "own_2": 1.0}
    assert {(source.providers, source.local.licence) for source in sources.values()} == {(("local",), "mine: 'all'")}
    assert "next: `dvc repro`" in done.stderr


def test_so_few_texts_are_gone_through_a_few_times_only(workspace, repository):
    (workspace / "few.txt").write_text("A text of some words.\n\n" * 9, encoding="utf-8")
    before = load("train.max_steps", int)
    done = run(workspace, repository, "few.txt")
    assert load("train.max_steps", int) == MIN_STEPS
    assert load("train.eval_every", int) == MIN_STEPS // 8
    assert f"train.max_steps: {before:,} -> {MIN_STEPS}, about {EPOCHS} times through your " in done.stderr


def test_texts_for_more_steps_than_there_are_keep_them():
    params = "download: {}\ntrain:\n  max_steps: 100\n  eval_every: 20\n"
    assert with_sources(params, "download: {}\n", fitting_steps(10**7, 2048)) == params
    assert "max_steps: 60\n  eval_every: 7\n" in with_sources(params, "download: {}\n", 60)


def test_the_preset_brings_all_back(workspace, repository):
    before = (workspace / "params.yaml").read_bytes()
    run(workspace, repository, "bük.txt")
    assert (workspace / "params.yaml").read_bytes() != before
    apply_preset("laptop")
    assert (workspace / "params.yaml").read_bytes() == before


def test_one_parameter_set_through_dvc_changes_one_line_of_what_was_written(workspace):
    section = sources_section([str(workspace / "my chats [1]")], "not stated")
    (workspace / "params.yaml").write_text(
        with_sources((workspace / "params.yaml").read_text(encoding="utf-8"), section), encoding="utf-8"
    )
    before = (workspace / "params.yaml").read_text(encoding="utf-8").splitlines()
    apply_overrides(workspace / "params.yaml", ["download.own.limit=7"])
    after = (workspace / "params.yaml").read_text(encoding="utf-8").splitlines()
    assert [new.split("#")[0].strip() for old, new in zip(before, after, strict=True) if old != new] == ["limit: 7"]


@pytest.mark.parametrize("broken", ["nowhere", "my chats [1]"])
def test_what_the_provider_would_refuse_leaves_the_parameters_as_they_were(workspace, repository, broken):
    before = (workspace / "params.yaml").read_bytes()
    (workspace / "my chats [1]" / "b.jsonl").write_text(f'{json.dumps(CHAT)}\n{{"messages": [\n', encoding="utf-8")
    done = run(workspace, repository, "bük.txt", broken)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert broken in done.stderr.splitlines()[-1]
    assert (workspace / "params.yaml").read_bytes() == before


def test_a_location_holds_in_every_folder(workspace):
    assert absolute("bük.txt") == str(workspace / "bük.txt")
    assert absolute("https://example.org/a.csv") == "https://example.org/a.csv"
    assert absolute("file:///data/a%20b.csv") == "/data/a b.csv"


@pytest.mark.parametrize(("added", "code"), [("", 0), ('{"messages": [\n', 1), ('{"messages": []}\n' * 5, 1)])
def test_no_log_repeats_a_signed_query(workspace, repository, added, code):
    file = workspace / "my chats [1]" / "b.jsonl"
    file.write_text(f"{json.dumps(CHAT)}\n{added}", encoding="utf-8")
    handler = partial(SimpleHTTPRequestHandler, directory=file.parent)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        done = run(workspace, repository, f"http://127.0.0.1:{server.server_port}/b.jsonl?signature=s3cret")
        server.shutdown()
    assert done.returncode == code, done.stderr
    logged = (workspace / "logs/own_data.log").read_text(encoding="utf-8")
    assert "b.jsonl" in logged and "s3cret" not in logged + done.stderr
    assert ("s3cret" in (workspace / "params.yaml").read_text(encoding="utf-8")) == (code == 0)
