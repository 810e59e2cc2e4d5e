import errno
import json
import os
import subprocess
import sys
import time

import pytest

from stages.dvc_state import cache_finding, file_lock_finding, lock_findings, running_stages, written_by
from stages.findings import Finding


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to be in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def hold(folder, pid):
    """Leave the lock as `dvc` does while a stage of its writes models/scratch."""
    (folder / ".dvc/tmp").mkdir(parents=True, exist_ok=True)
    holder = {"pid": pid, "cmd": "dvc repro"}
    lock = {"read": {str(folder / "data"): [holder]}, "write": {str(folder / "models/scratch"): holder}}
    (folder / ".dvc/tmp/rwlock").write_text(json.dumps(lock), encoding="utf-8")


def ended_process():
    return subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)


def test_a_run_in_progress_is_named_with_what_it_writes(here):
    hold(here, os.getpid())
    (found,) = lock_findings(())
    assert found.mark == "problem"
    assert found.text == f"`dvc` (pid {os.getpid()}) is at work here, writing models/scratch"


def test_the_lock_of_a_dvc_that_was_killed_holds_nobody_up(here):
    hold(here, int(ended_process().stdout))
    assert written_by() == {}
    assert lock_findings(()) == [Finding("ok", "no other run here")]


def test_a_stage_that_a_killed_dvc_left_behind_is_found(here):
    (here / "stages").mkdir()
    (here / "stages/train.py").write_text("import time\ntime.sleep(60)\n", encoding="utf-8")
    process = subprocess.Popen([sys.executable, "-m", "stages.train"], cwd=here, env={})
    try:
        while process.pid not in running_stages():  # until it has become that program
            time.sleep(0.01)
        (found,) = lock_findings(())
        assert found.text == f"stage train (pid {process.pid}) runs here without dvc"
        assert lock_findings(("train",))[0].mark == "ok"  # a tool, no stage
    finally:
        process.kill()
        process.wait()


def dvc(*words):
    subprocess.run([sys.executable, "-m", "dvc", *words, "-q"], check=True)


@pytest.mark.filterwarnings("ignore:_NoneStep.value will soon:DeprecationWarning")
def test_a_file_system_without_locks_is_a_problem_until_dvc_does_without(here, monkeypatch):
    def no_locks(file, how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    dvc("init", "--no-scm")
    assert file_lock_finding() == Finding("ok", "the file system has locks")
    monkeypatch.setattr("fcntl.flock", no_locks)
    assert file_lock_finding().mark == "problem"
    (here / ".dvc/config.local").write_text("[core]\n    hardlink_lock = true\n", encoding="utf-8")
    assert file_lock_finding().mark == "warning"


@pytest.mark.filterwarnings("ignore:_NoneStep.value will soon:DeprecationWarning")
def test_the_cache_and_its_links_are_named(here):
    dvc("init", "--no-scm")
    dvc("config", "cache.type", "hardlink,copy")
    assert cache_finding() == Finding("ok", "cache .dvc/cache/files/md5, on this file system, hard links")
    dvc("config", "cache.type", "copy")
    assert cache_finding().mark == "warning"
