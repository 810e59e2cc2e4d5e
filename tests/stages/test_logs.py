import errno
import fcntl
import logging
import os
import platform
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from stages.logs import Made, costs_file, read_cost, run_stage, stage_lock

logger = logging.getLogger("llm.something")


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    """Each test in its own folder, with the loggers put back as they were."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TANDEM_COST", raising=False)
    root = logging.getLogger()
    before, ctrl_c = root.handlers[:], signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, ctrl_c)
    for handler in [handler for handler in root.handlers if handler not in before]:
        handler.close()
    root.handlers[:] = before


def fail(error):
    raise error


def log_text(folder):
    return (folder / "logs/clean.log").read_text(encoding="utf-8")


def test_a_stage_that_succeeds_logs_its_lines_and_the_time_taken(tmp_path, capsys):
    run_stage("clean", lambda: logger.info("3 dialogues dropped"))
    for text in (capsys.readouterr().err, log_text(tmp_path)):
        assert "3 dialogues dropped" in text
        assert "clean done in 0.0 s" in text


ROOM = "close other programs, or raise what `ulimit -v` or the container allows"
IN_LOG = "the traceback is in logs/broken.log"


class OddError(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("a\n  b"), "a b"),
        (FileNotFoundError("a b"), "a b"),
        (ValueError(), "ValueError"),
        (RuntimeError("a\ndefect"), "RuntimeError: a defect"),
        (OddError("x " * 9999), f"OddError: {'x ' * 250} ..."),
        (OddError("x" * 9999), f"OddError: {'x' * 100}...{'x' * 20}"),
        (MemoryError(), f"out of memory (MemoryError): {ROOM}"),
        (
            ImportError("a.so: failed to map segment"),
            f"out of memory (ImportError: a.so: failed to map segment): {ROOM}",
        ),
        (OSError(errno.ENOMEM, "x"), f"out of memory (OSError: [Errno 12] x): {ROOM}"),
    ],
)
def test_every_failure_is_one_line_on_stderr_and_exit_code_1(tmp_path, capsys, error, told):
    with pytest.raises(SystemExit) as ended:
        run_stage("clean", lambda: fail(error))
    assert ended.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line[9:] == f"clean failed: {told}; the traceback is in logs/clean.log"
    assert "Traceback" in log_text(tmp_path) and "in fail" in log_text(tmp_path)


def test_a_disk_too_full_for_the_log_is_told_once_and_ends_no_stage(tmp_path, capsys):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/clean.log").symlink_to("/dev/full")
    run_stage("clean", lambda: logger.info("3 dialogues dropped"))
    assert sorted(line[9:] for line in capsys.readouterr().err.splitlines()) == [
        "3 dialogues dropped",
        "clean done in 0.0 s",
        "logs/clean.log cannot be written (No space left on device): the log is on the console only",
    ]


def test_a_failure_on_a_disk_too_full_for_the_log_is_one_line_more(tmp_path, capsys):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/clean.log").symlink_to("/dev/full")
    with pytest.raises(SystemExit) as ended:
        run_stage("clean", lambda: fail(OSError(errno.ENOSPC, "No space left on device")))
    assert ended.value.code == 1
    lost, failed = capsys.readouterr().err.splitlines()
    assert "logs/clean.log cannot be written" in lost
    assert failed.endswith("clean failed: [Errno 28] No space left on device")


AS_NOBODY = """
import logging, os, sys
from stages.logs import run_stage
os.setgid(65534)
os.setuid(65534)
run_stage("clean", lambda: logging.getLogger("llm").info("3 dialogues dropped"))
"""


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can make files of another user")
@pytest.mark.parametrize("ran_before", [True, False])
def test_logs_of_another_user_leave_the_console(tmp_path, repository, ran_before):
    """The files are there, with their lock, or only their folder is."""
    (tmp_path / "logs").mkdir(mode=0o755)
    if ran_before:
        run_stage("clean", lambda: None)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}  # it writes, too
    environment["PYTHONPATH"] = str(repository)
    for folder in [tmp_path, *tmp_path.parents[:-2]]:  # pytest's own are closed to others
        folder.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert sorted(line[9:] for line in done.stderr.splitlines())[-3:] == [
        "clean done in 0.0 s",
        "logs/clean.lock cannot be locked (Permission denied): two runs of this stage at once are not noticed here",
        "logs/clean.log cannot be written (Permission denied): the log is on the console only",
    ]
    assert "3 dialogues dropped" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("reason", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_without_locks_is_told_and_ends_no_stage(capsys, monkeypatch, reason):
    monkeypatch.setattr(fcntl, "flock", lambda *_: fail(OSError(reason, os.strerror(reason))))
    run_stage("clean", lambda: None)
    told, done = capsys.readouterr().err.splitlines()
    assert f"logs/clean.lock: no locks here ({os.strerror(reason)}): two runs at once are not noticed" in told
    assert "clean done" in done


@pytest.fixture
def deleted_metrics(tmp_path):
    """A repository with a committed metric that DVC has deleted."""
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics/scratch.json").write_text("{}", encoding="utf-8")
    git = ("git", "-c", "user.name=t", "-c", "user.email=t@t")
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "a run"]):
        subprocess.run([*git, *command], check=True)
    (tmp_path / "metrics/scratch.json").unlink()


BACK = "; `dvc repro` writes the missing metrics, `git checkout metrics` restores the old ones\n"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (KeyboardInterrupt("stopped at step 3"), "interrupted: stopped at step 3"),
        (ValueError("a b"), "failed: a b; the traceback is in logs/clean.log"),
    ],
)
def test_a_stage_that_does_not_end_says_how_deleted_metrics_come_back(deleted_metrics, capsys, error, told):
    with pytest.raises(SystemExit):
        run_stage("clean", lambda: fail(error))
    assert capsys.readouterr().err.endswith(f"clean {told}{BACK}")
    subprocess.run(["git", "checkout", "-q", "metrics"], check=True)
    assert Path("metrics/scratch.json").is_file()
    with pytest.raises(SystemExit):
        run_stage("clean", lambda: fail(error))
    assert capsys.readouterr().err.endswith(f"clean {told}\n")


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        ("MemoryError('no room')", 1, f"broken failed: out of memory (MemoryError: no room): {ROOM}; {IN_LOG}"),
        ("KeyboardInterrupt", -signal.SIGINT, "broken interrupted: run the same command again"),
    ],
)
def test_what_ends_a_stage_while_it_is_imported_is_one_line(tmp_path, repository, error, code, told):
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages/__init__.py").write_bytes((repository / "stages/__init__.py").read_bytes())
    (tmp_path / "requirements.lock").write_bytes((repository / "requirements.lock").read_bytes())
    (tmp_path / "stages/broken.py").write_text(f"raise {error}\n", encoding="utf-8")
    done = subprocess.run([sys.executable, "-m", "stages.broken"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (code, f"{told}\n")


def test_a_process_that_torchrun_started_keeps_its_traceback_in_a_file_of_its_own(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SystemExit):
        run_stage("clean", lambda: fail(RuntimeError("a defect")))
    told = "process 1: clean failed: RuntimeError: a defect; the traceback is in logs/clean.process1.log\n"
    assert capsys.readouterr().err == told
    assert "Traceback" in (tmp_path / "logs/clean.process1.log").read_text(encoding="utf-8")
    assert not (tmp_path / "logs/clean.log").exists()


def test_a_further_process_says_nothing_of_what_goes_well(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    run_stage("clean", lambda: logger.info("step 1"))
    assert capsys.readouterr().err == ""


def test_an_interruption_is_exit_code_130(capsys):
    with pytest.raises(SystemExit) as ended:
        run_stage("clean", lambda: fail(KeyboardInterrupt()))
    assert ended.value.code == 130
    assert "run the same command again" in capsys.readouterr().err


LOSING = """
import signal, time
from stages.logs import run_stage

class Lost:
    def __del__(self):
        signal.raise_signal(signal.{})

def main():
    Lost()
    time.sleep(60)

run_stage("lost", main)
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interruption_that_falls_into_a_destructor_is_not_lost(tmp_path, repository, name):
    """So the campaign of faults found: a signal met a destructor of the package regex, and the run went on."""
    command = [sys.executable, "-c", LOSING.format(name), "-m", "stages.lost"]
    environment = os.environ | {"PYTHONPATH": str(repository)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=50)
    assert done.returncode == 130
    assert [line[9:] for line in done.stderr.splitlines()] == ["lost interrupted: run the same command again"]


def test_any_other_fault_of_a_destructor_is_shown_as_ever(tmp_path, repository):
    code = "import stages\nclass Bad:\n    def __del__(self):\n        raise OSError('odd')\nBad()"
    environment = os.environ | {"PYTHONPATH": str(repository)}
    command = [sys.executable, "-c", code, "-m", "stages.bad"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0 and "Exception ignored" in done.stderr and "OSError: odd" in done.stderr


def test_what_an_interruption_says_is_told(capsys):
    with pytest.raises(SystemExit):
        run_stage("clean", lambda: fail(KeyboardInterrupt("stopped at step 3: go on")))
    assert capsys.readouterr().err.endswith("clean interrupted: stopped at step 3: go on\n")


def test_sigterm_is_an_interruption_and_afterwards_what_it_was(capsys):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        run_stage("clean", lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert ended.value.code == 130
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_stage_that_runs_already_is_not_started_again(tmp_path, capsys):
    (tmp_path / "logs").mkdir()
    with stage_lock("clean"), pytest.raises(SystemExit) as ended:
        run_stage("clean", lambda: None)
    assert ended.value.code == 1
    assert "clean failed: another process runs this stage here" in capsys.readouterr().err
    run_stage("clean", lambda: None)


def test_the_log_file_is_appended_to(tmp_path):
    for _ in range(2):
        run_stage("clean", lambda: None)
    assert log_text(tmp_path).count("clean done") == 2


def test_an_interpreter_without_the_lock_s_torch_says_so_in_one_line(tmp_path, repository):
    (tmp_path / "stages").mkdir()
    for name in ("__init__.py", "logs.py"):
        (tmp_path / "stages" / name).write_bytes((repository / "stages" / name).read_bytes())
    (tmp_path / "requirements.lock").write_text("torch==0.0.1\ntransformers==0.0.1\n", encoding="utf-8")
    ended = subprocess.run([sys.executable, "-m", "stages.logs"], cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert "requirements.lock 0.0.1: run `make install`" in line


def test_no_log_has_the_secrets_of_a_url(capsys):
    def main():
        logger.info("asking https://ann:hush0@example.org/a.zip?token=hush1")
        raise ValueError("https://ann:hush0@example.org/a.zip?token=hush1 is away")

    with pytest.raises(SystemExit):
        run_stage("clean", main)
    told = Path("logs/clean.log").read_text(encoding="utf-8") + capsys.readouterr().err
    assert told.count("https://example.org/a.zip?...") >= 4 and "Traceback" in told and "hush" not in told


def made(text, seconds=0.0):
    """What a stage made, a file of that text."""
    Path("made.json").write_text(text, encoding="utf-8")
    return Made([Path("made.json")], seconds)


def test_the_cost_of_a_stage_is_found_by_what_it_made():
    run_stage("clean", lambda: made("one"))
    found = read_cost("clean", [Path("made.json")])
    assert found["seconds"] >= 0 and found["peak_bytes"] > 10**6 and found["processor"] and found["gpu"] is None
    made("another")
    assert read_cost("clean", [Path("made.json")]) is None


def test_beside_the_cost_stands_what_decides_the_last_digits():
    run_stage("clean", lambda: made("one"))
    found = read_cost("clean", [Path("made.json")])["environment"]
    assert found["python"] == platform.python_version()
    assert (found["threads"] is None) == ("torch" not in sys.modules)
    assert found["versions"].get("numpy") == (version("numpy") if "numpy" in sys.modules else None)


def test_a_run_that_answers_from_what_was_kept_does_not_make_the_work_cheap():
    for seconds in (264.0, 0.0):
        run_stage("train_scratch", lambda seconds=seconds: made("weights", seconds))
    found = read_cost("train_scratch", [Path("made.json")])
    assert found["seconds"] == 264.0 and found["peak_bytes"] is None  # of which this process had no part


def test_a_cost_that_was_cut_short_hides_no_other():
    run_stage("clean", lambda: made("one"))
    with costs_file("clean").open("a", encoding="utf-8") as file:
        file.write('{"key": "ab')  # and the next line is appended to it
    run_stage("clean", lambda: made("two"))
    assert read_cost("clean", [Path("made.json")]) is None
    made("one")
    assert read_cost("clean", [Path("made.json")])["seconds"] >= 0


def test_a_stage_that_failed_has_no_cost():
    with pytest.raises(SystemExit):
        run_stage("clean", lambda: fail(ValueError("bad data")))
    assert not costs_file("clean").exists()


def test_an_experiment_in_a_copy_keeps_its_cost_in_the_repository(tmp_path, monkeypatch):
    copy = tmp_path / ".dvc/tmp/exps/tmp1"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    assert costs_file("clean") == tmp_path / ".cost/clean.jsonl"


def test_a_cost_that_cannot_be_written_is_a_warning(capsys):
    Path(".cost").write_text("in the way", encoding="utf-8")
    run_stage("clean", lambda: made("one"))
    assert "what the stage cost is not kept" in capsys.readouterr().err
