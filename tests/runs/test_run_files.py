"""Runs read from a working tree, from commits and from an experiment of a real repository."""

import io
import json
import lzma
import os
import subprocess
import sys
import tarfile
from dataclasses import asdict, replace

import numpy as np
import pytest

from llm.__main__ import main
from llm.commands import split_run
from llm.evaluation.items import EvaluateConfig, Sampling, SamplingConfig
from llm.files import write_bytes, write_json
from llm.runs.compare import CompareConfig
from llm.runs.output_rows import item_rows, jsonl_bytes, score_rows
from llm.runs.packed import COMPARED, ITEM_TEXTS, PACKED, PREDICTIONS, SCORES, SETTINGS, pack_run, unpack_run
from llm.runs.run_files import (
    EvaluatedRun,
    Settings,
    differing_decoding,
    export_revision,
    read_run,
    read_settings,
)
from tests.measured_runs import ALIKE, ITEMS, N_BYTES, spreads, that_says, with_bpb

EVALUATE = EvaluateConfig(
    dialogues=None, max_replies=2, history_chars=200, generations=4, sampled=2, sampling=ALIKE,
    max_reply_bytes=6, truth_questions=2, truthfulqa_questions=None, literacy_questions=None,
    quiz=True, batch_tokens=128, bootstrap=100,
)  # fmt: skip
OWN_SETTINGS = Settings(EVALUATE, CompareConfig(5, spreads()), data_seed=3, min_groups=30)


def write_run(folder, likelihoods):
    """The files of a run of one model, as the stage evaluate leaves them."""
    write_json(folder / SETTINGS, asdict(Settings(EVALUATE, CompareConfig(5, spreads()), data_seed=1, min_groups=2)))
    write_bytes(folder / SCORES, jsonl_bytes(score_rows("scratch", ITEMS, likelihoods)))
    write_bytes(folder / PREDICTIONS, b"")
    write_bytes(folder / ITEM_TEXTS, jsonl_bytes(item_rows(ITEMS)))
    write_bytes(folder / PACKED, pack_run(folder))


def shell(folder, *command):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def git(folder, *arguments):
    shell(folder, "git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments)


def level(bits):
    return with_bpb(np.linspace(1.5, 2.5, len(N_BYTES)) + bits).likelihoods


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """Two commits, `before` and the later `after`, with the packed run alone in git, as in a real project."""
    folder = tmp_path_factory.mktemp("repository")
    git(folder, "init", "-q", "-b", "main")
    shell(folder, sys.executable, "-m", "dvc", "init", "-q")
    (folder / ".gitignore").write_text("".join(f"/{path}\n" for path in COMPARED), encoding="utf-8")
    for name, bits in (("before", 0.0), ("after", -0.5)):
        write_run(folder, level(bits))
        git(folder, "add", "-A")
        git(folder, "commit", "-qm", name)
        git(folder, "tag", name)
    return folder


def test_a_run_is_read_back_from_its_files(repository):
    found = read_run(repository).model("scratch")
    assert found.items.examples == ITEMS.examples
    assert found.likelihoods == level(-0.5)


def test_the_files_of_a_commit_come_from_git_alone(repository, tmp_path):
    export_revision("before", tmp_path, repository)
    assert all((tmp_path / path).is_file() for path in COMPARED)
    assert read_run(tmp_path).model("scratch").likelihoods == level(0.0)
    assert read_run(repository).model("scratch").likelihoods == level(-0.5)  # the working tree is left alone


def test_two_revisions_are_compared_by_name(repository, monkeypatch, capsys):
    monkeypatch.chdir(repository)
    assert main(["compare", "after", "before", "--model", "scratch"]) == 0
    page = capsys.readouterr().out
    assert "-0.5000" in page
    assert "better on these items; one seed" in page
    assert main(["compare", "workspace:scratch,before:scratch", "after:scratch"]) == 0
    assert "Seeds: 2 against 1." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nothing:scratch", "scratch"), "nothing is no commit, branch or experiment here: see `dvc exp show`"),
        (
            ("scratch", "gpt5"),
            "gpt5 is no model of that run; there are scratch; revisions and experiments are compared with --model NAME",
        ),
    ],
)
def test_what_is_not_there_is_said_in_one_line(repository, monkeypatch, capsys, words, message):
    monkeypatch.chdir(repository)
    assert main(["compare", *words]) == 1
    assert capsys.readouterr().err == f"{message}\n"


def test_commits_are_compared_in_a_clone_that_has_nothing_but_them(repository, tmp_path, monkeypatch, capsys):
    git(tmp_path, "clone", "-q", str(repository), "clone")
    monkeypatch.chdir(tmp_path / "clone")
    assert not list((tmp_path / "clone").glob(SCORES)) and not (tmp_path / "clone/.dvc/cache").exists()
    assert main(["compare", "after:scratch", "before:scratch"]) == 0
    there = capsys.readouterr().out
    assert "-0.5000" in there
    monkeypatch.chdir(repository)
    assert main(["compare", "after:scratch", "before:scratch"]) == 0
    assert capsys.readouterr().out == there
    monkeypatch.chdir(tmp_path / "clone")
    assert main(["compare", "scratch", "before:scratch"]) == 1
    assert "run `dvc repro evaluate`; a committed run is named as HEAD:MODEL" in capsys.readouterr().err


def test_a_name_is_a_branch_of_the_clone_then_an_experiment_then_a_branch_of_the_remote(repository, tmp_path):
    git(repository, "branch", "fast", "before")
    git(tmp_path, "clone", "-q", str(repository), "clone")
    clone = tmp_path / "clone"

    def likelihoods():
        export_revision("fast", tmp_path, clone)
        return read_run(tmp_path).model("scratch").likelihoods

    def experiment(baseline):
        commit = subprocess.check_output(["git", "rev-parse", baseline], cwd=clone, text=True).strip()
        git(clone, "update-ref", f"refs/exps/{commit[:2]}/{commit[2:]}/fast", "after")

    assert likelihoods() == level(0.0)  # the remote's
    experiment("before")
    assert likelihoods() == level(-0.5)
    git(clone, "branch", "fast", "before")
    assert likelihoods() == level(0.0)
    git(clone, "branch", "-D", "fast")
    git(clone, "-c", "user.name=t", "-c", "user.email=t@t", "commit", "--allow-empty", "-qm", "neither's baseline")
    experiment("after")
    with pytest.raises(
        ValueError, match=r"'fast' refers to multiple experiments. Use one of .* refs/exps/\w+/\w+/fast"
    ):
        likelihoods()


def test_a_packed_run_is_the_same_bytes_for_the_same_files_and_is_whole(repository, tmp_path):
    packed, other = pack_run(repository), tmp_path / "other"
    (tmp_path / "packed").write_bytes(packed)
    unpack_run(tmp_path / "packed", other)
    assert {path: (other / path).read_bytes() for path in COMPARED} == {
        path: (repository / path).read_bytes() for path in COMPARED
    }
    for path in COMPARED:
        os.utime(other / path, (1, 1))
    assert pack_run(other) == packed
    for damaged in (packed[:-100], b"no archive"):
        (tmp_path / "packed").write_bytes(damaged)
        with pytest.raises(ValueError, match=f"{PACKED} is damaged or of another version"):
            unpack_run(tmp_path / "packed", tmp_path / "nothing")


def test_a_packed_run_that_fills_the_memory_is_refused(tmp_path, monkeypatch):
    packed = tmp_path / "packed"
    monkeypatch.setattr("llm.runs.packed.MAX_UNPACKED_BYTES", 1 << 20)
    packed.write_bytes(lzma.compress(bytes(1 << 21)))
    with pytest.raises(ValueError, match="unpacks to more than 1,048,576 bytes"):
        unpack_run(packed, tmp_path / "run")
    monkeypatch.setattr("llm.runs.packed.MAX_DECODER_BYTES", 1 << 20)
    packed.write_bytes(lzma.compress(b"x"))  # its dictionary: 8 MiB
    with pytest.raises(ValueError, match="is damaged or of another version: Memory usage limit exceeded"):
        unpack_run(packed, tmp_path / "run")


def test_a_packed_run_with_holes_in_place_of_bytes_is_refused(tmp_path):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in COMPARED:  # a sparse file: 2**40 bytes, none of them there
            entry = tarfile.TarInfo(path)
            entry.pax_headers = {"GNU.sparse.map": f"{1 << 40},0", "GNU.sparse.size": str(1 << 40)}
            tar.addfile(entry)
    (tmp_path / "packed").write_bytes(lzma.compress(archive.getvalue()))
    with pytest.raises(ValueError, match="is of another version"):
        unpack_run(tmp_path / "packed", tmp_path / "run")


def test_a_revision_without_a_packed_run_says_so(repository, tmp_path):
    git(repository, "checkout", "-q", "--orphan", "old")
    git(repository, "rm", "-q", "--cached", PACKED)
    git(repository, "commit", "-qm", "without outputs")
    with pytest.raises(FileNotFoundError, match=f"old has no {PACKED}: it is older than that file"):
        export_revision("old", tmp_path, repository)


def test_a_run_is_named_by_revision_and_model():
    assert split_run("main:scratch", None) == ("main", "scratch")
    assert split_run("scratch", None) == ("workspace", "scratch")
    assert split_run("main", "scratch") == ("main", "scratch")


def test_a_folder_without_items_says_what_to_run(tmp_path):
    write_run(tmp_path, level(0.0))
    (tmp_path / ITEM_TEXTS).unlink()
    with pytest.raises(FileNotFoundError, match="run `dvc repro evaluate`"):
        read_run(tmp_path)


def test_settings_come_back_from_their_file(tmp_path):
    write_json(tmp_path / "settings.json", asdict(OWN_SETTINGS))
    assert read_settings(tmp_path / "settings.json") == OWN_SETTINGS


def test_a_run_is_compared_by_its_own_numbers():
    rules = OWN_SETTINGS.rules(None)
    assert (rules.n_resamples, rules.seed, rules.min_groups, rules.seed_sd) == (100, 3, 30, spreads())


def test_a_run_from_before_literacy_questions_could_be_chosen_was_asked_all(tmp_path):
    values = asdict(OWN_SETTINGS)
    del values["evaluate"]["literacy_questions"]
    (tmp_path / "settings.json").write_text(json.dumps(values), encoding="utf-8")
    assert read_settings(tmp_path / "settings.json") == OWN_SETTINGS


def test_a_run_from_before_each_model_had_its_sampling_drew_all_alike(tmp_path):
    values = asdict(OWN_SETTINGS)
    values["evaluate"] |= {"temperature": 0.7, "top_p": 0.9}
    del values["evaluate"]["sampling"]
    (tmp_path / "settings.json").write_text(json.dumps(values), encoding="utf-8")
    found = read_settings(tmp_path / "settings.json").evaluate
    assert found.sampling == SamplingConfig(Sampling(0.7, 0.9), Sampling(0.7, 0.9), Sampling(0.7, 0.9))


def test_settings_of_another_version_or_none_say_what_to_do(tmp_path):
    values = asdict(OWN_SETTINGS)
    del values["evaluate"]["sampling"]
    (tmp_path / "settings.json").write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(ValueError, match="of another version: run `dvc repro evaluate`"):
        read_settings(tmp_path / "settings.json")
    with pytest.raises(FileNotFoundError, match="run `dvc repro evaluate`"):
        read_settings(tmp_path / "none.json")


def test_runs_whose_replies_have_another_cap_name_it(tmp_path):
    longer = replace(OWN_SETTINGS, evaluate=replace(EVALUATE, max_reply_bytes=900, sampled=7))
    told = differing_decoding({"workspace": OWN_SETTINGS, "main": longer})
    assert told == ["evaluate.max_reply_bytes is 6 in workspace, 900 in main"]
    assert differing_decoding({"workspace": OWN_SETTINGS, "main": OWN_SETTINGS}) == []


@pytest.mark.parametrize(("max_bytes", "compared"), [(6, True), (900, False)])
def test_what_was_written_under_another_cap_is_not_compared(monkeypatch, capsys, caplog, max_bytes, compared):
    ours, theirs = (that_says([text] * len(ITEMS.prompts)) for text in ("a piece of text", "what is a token"))
    other = replace(OWN_SETTINGS, evaluate=replace(EVALUATE, max_reply_bytes=max_bytes))
    runs = {
        "workspace": EvaluatedRun(OWN_SETTINGS, {"scratch": ours}),
        "main": EvaluatedRun(other, {"scratch": theirs}),
    }
    monkeypatch.setattr("llm.commands.read_runs", lambda revisions: runs)
    assert main(["compare", "scratch", "main:scratch"]) == 0
    table = capsys.readouterr().out
    assert "bpb.all" in table
    assert ("text.chrf" in table, "truth.contrast" in table) == (compared, compared)
    assert ("evaluate.max_reply_bytes is 6 in workspace, 900 in main" in caplog.text) is not compared
