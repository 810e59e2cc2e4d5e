"""What a worker reads of a run, and how it ends one."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llm.runs.run_files import FIGURES
from llm.sweeps import clone
from llm.sweeps.clone import Clone, git, stop
from llm.sweeps.runner import SUMMARY, Experiment, measured, read_curve, run_experiment
from llm.sweeps.space import CURVES, Space, SweepConfig
from tests.clone import AUTHOR
from tests.sweeps.test_space import SPACE

CONFIG = SweepConfig(**(SPACE | {"space": Space(**SPACE["space"])}))
CURVE = "step,val_loss\n0,\n3,5.0\n6,4.5\n"


def test_a_curve_is_read_as_far_as_it_goes_and_the_committed_one_is_another_run_s(tmp_path):
    path = tmp_path / "curve.csv"
    assert read_curve(path, CURVE) == {}
    path.write_text(CURVE, encoding="utf-8")
    assert read_curve(path) == {3: 5.0, 6: 4.5}
    assert read_curve(path, CURVE.strip()) == {}
    path.write_text(CURVE + "9,4.0\n", encoding="utf-8")
    assert read_curve(path, CURVE) == {3: 5.0, 6: 4.5, 9: 4.0}


def test_a_figure_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"train_scratch.csv holds no validation loss: was scratch trained\?"):
        measured(tmp_path, CONFIG)
    (tmp_path / CURVES["scratch"]).parent.mkdir(parents=True)
    (tmp_path / CURVES["scratch"]).write_text(CURVE, encoding="utf-8")
    assert measured(tmp_path, CONFIG) == 4.5
    other = SweepConfig(**(SPACE | {"space": Space(**SPACE["space"]), "objective": "scratch.bpb.all"}))
    (tmp_path / FIGURES).mkdir(parents=True)
    (tmp_path / FIGURES / "scratch.json").write_text(json.dumps({"bpb": {"all": None}}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"scratch.bpb.all is no figure of the run"):
        measured(tmp_path, other)


# What DVC and its stage are to a worker: a process that starts another in its group and may die before that has saved.
LEADER = (
    "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', sys.argv[1], sys.argv[2]]); time.sleep(60)"
)
STAGE = """
import pathlib, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
place = pathlib.Path(sys.argv[1])
place.with_suffix(".begun").touch()
try:
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(1)
    place.touch()
"""


@pytest.mark.parametrize("killed", [False, True], ids=["alive", "killed"])
def test_a_run_has_ended_when_its_stage_has_saved_also_where_the_process_above_it_was_killed(tmp_path, killed):
    saved = tmp_path / "saved"
    process = subprocess.Popen([sys.executable, "-c", LEADER, STAGE, str(saved)], start_new_session=True)
    while not saved.with_suffix(".begun").exists():
        time.sleep(0.05)
    if killed:
        process.send_signal(signal.SIGKILL)
        process.wait()
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    stop(process)
    assert saved.exists()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


def test_what_does_not_end_is_killed(monkeypatch):
    monkeypatch.setattr(clone, "UNTIL_KILLED_S", 0.5)
    deaf = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", deaf], start_new_session=True, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        stop(process)
        assert process.returncode == -signal.SIGKILL


def test_the_clone_of_a_worker_knows_who_commits_and_signs_nothing(tmp_path):
    repository = tmp_path / "repository"
    subprocess.run(["git", "init", "-q", repository], check=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], cwd=repository, check=True)
    for name, value in {"user.name": "Ann", "user.email": "ann@localhost", "commit.gpgsign": "true"}.items():
        git(repository, "config", name, value)
    (repository / "curve.csv").write_text(CURVE, encoding="utf-8")
    git(repository, "add", "--all")
    git(repository, "-c", "commit.gpgsign=false", "commit", "-qm", "begun")
    made = Clone(repository, tmp_path / "worker", git(repository, "rev-parse", "HEAD"))
    made.prepare()
    git(made.folder, "config", "commit.gpgsign", "true")  # as where it is set for all of a user's repositories
    assert git(made.folder, "config", "user.name") == "Ann"
    assert made.committed(Path("curve.csv")) == CURVE.strip()
    (made.folder / "curve.csv").write_text(CURVE + "9,4.0\n", encoding="utf-8")
    made.save_stopped("tiny-000", "stopped")
    made.bring("tiny-000")
    assert git(repository, "for-each-ref", "refs/exps").endswith("/tiny-000")


PIPELINE = """
stages:
  train: {cmd: "echo step,val_loss > curve.csv", params: [lr], outs: [curve.csv: {cache: false}]}
  evaluate:
    cmd: mkdir -p metrics && echo '{"loss":' $(grep -o '[0-9].*' params.yaml)'}' > metrics/summary.json
    params: [lr]
    deps: [curve.csv]
    metrics: [metrics/summary.json: {cache: false}]
"""


def test_a_trial_that_only_trains_does_not_show_the_figures_of_its_commit(tmp_path, monkeypatch):
    for name in AUTHOR:  # as on a machine whose git knows nobody: the trial is kept all the same
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    repository, names = tmp_path / "repository", {"trained": "train", "whole": None}
    subprocess.run(["git", "init", "-q", repository], check=True)
    (repository / "params.yaml").write_text("lr: 1", encoding="utf-8")
    (repository / "dvc.yaml").write_text(PIPELINE, encoding="utf-8")
    for command in (["init", "-q"], ["repro", "-q"]):
        subprocess.run([sys.executable, "-m", "dvc", *command], cwd=repository, check=True)
    git(repository, "add", "--all")
    git(repository, *clone.AUTHOR, "commit", "-qm", "begun")
    made = Clone(repository, tmp_path / "worker", git(repository, "rev-parse", "HEAD"))
    for number, (name, target) in enumerate(names.items(), 2):
        experiment = Experiment(name, target, {"lr": number})
        log = tmp_path / f"{name}.log"
        assert run_experiment(made, experiment, Path("curve.csv"), log, [], lambda _: False) == "finished"
    held = {name: git(repository, "ls-tree", "-r", "--name-only", ref(made, name)).split() for name in names}
    assert SUMMARY.as_posix() not in held["trained"]
    assert git(repository, "show", f"{ref(made, 'trained')}:params.yaml") == "lr: 2"
    assert json.loads(git(repository, "show", f"{ref(made, 'whole')}:{SUMMARY.as_posix()}")) == {"loss": 3}


def ref(made: Clone, name: str) -> str:
    """What git calls an experiment."""
    return clone.experiment_ref(made.commit, name)
