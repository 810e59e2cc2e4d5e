"""Two workers run a study of the real pipeline on the preset `smoke`; one is killed in the middle. Minutes."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import yaml

from tests.clone import Clone
from tests.sweeps.test_space import SPACE

pytest.importorskip("optuna", reason="Optuna is an extra: python -m pip install -r requirements-extra.lock")

ENDED = ("COMPLETE", "PRUNED")


def trials(clone):
    """State and parameters of every trial, by its number."""
    code = (
        "import json, optuna; from optuna.storages import JournalStorage as S, journal as j; "
        "optuna.logging.set_verbosity(40); "
        "study = optuna.load_study(study_name='tiny', storage=S(j.JournalFileBackend('.sweeps/tiny/journal.log'))); "
        "print(json.dumps([[t.state.name, t.params] for t in study.trials]))"
    )
    return json.loads(clone.run(sys.executable, "-c", code).stdout)


def start(clone, log):
    command = [sys.executable, "-m", "stages.sweep", "space.yaml"]
    environment = clone.environment | {"OMP_NUM_THREADS": "1"}
    with log.open("wb") as out:
        return subprocess.Popen(command, cwd=clone.folder, env=environment, stdout=out, stderr=out)


def wait_for(condition, timeout_s=900):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(1)


def ended(log):
    """Trials that a worker says it has ended."""
    return re.findall(r"(tiny-\d{3}): (?:scratch|stopped)", log.read_text(encoding="utf-8"))


def test_a_study_of_which_a_worker_is_killed_loses_and_repeats_no_trial(tmp_path):
    clone = Clone(tmp_path / "project")
    (clone.folder / "space.yaml").write_text(yaml.safe_dump(SPACE), encoding="utf-8")
    clone.dvc("repro", "tokenize")
    clone.run("git", "add", "dvc.lock")
    clone.run("git", "commit", "-qm", "data")
    logs = [tmp_path / "killed.log", tmp_path / "other.log"]
    workers = [start(clone, log) for log in logs]
    try:
        wait_for(lambda: ended(logs[0]) and re.search(r"tiny-\d{3}: \{", logs[0].read_text().splitlines()[-1]))
        os.kill(workers[0].pid, signal.SIGKILL)
        left = re.findall(r"(tiny-\d{3}): \{", logs[0].read_text())[-1]
        assert workers[1].wait(900) == 0, logs[1].read_text()
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    found = trials(clone)
    assert len(found) == 12 and {state for state, _ in found} <= set(ENDED)
    assert left in ended(logs[1])
    assert sorted(ended(logs[0]) + ended(logs[1])) == [f"tiny-{i:03d}" for i in range(12)]
    refs = clone.run("git", "for-each-ref", "--format=%(refname)", "refs/exps").stdout.split()
    assert [ref.rpartition("/")[2] for ref in sorted(refs)] == [f"tiny-{i:03d}" for i in range(12)]
    for ref, (_, params) in zip(sorted(refs), found, strict=True):
        kept = yaml.safe_load(clone.run("git", "show", f"{ref}:params.yaml").stdout)
        assert float(kept["train"]["lr"]) == params["train.lr"] and kept["train"]["max_steps"] == 12
        assert clone.run("git", "show", f"{ref}:metrics/train_scratch.csv").stdout.startswith("step,")
    assert clone.run("git", "status", "--porcelain", "--untracked-files=no").stdout == ""  # the working tree as it was
    assert start(clone, logs[0]).wait(120) == 0 and trials(clone) == found  # again: nothing is left to run
