import logging
import os
import signal
import subprocess
import sys

import pytest

from stages.logs import run_stage, stage_lock

logger = logging.getLogger("llm.something")


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    """Each test in its own folder, with the loggers put back as they were."""
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    before = root.handlers[:]
    yield
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


@pytest.mark.parametrize("error", [ValueError("a\n  b"), FileNotFoundError("a b")])
def test_a_refusal_is_one_line_on_stderr_and_exit_code_1(tmp_path, capsys, error):
    with pytest.raises(SystemExit) as ended:
        run_stage("clean", lambda: fail(error))
    assert ended.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("clean failed: a b")
    assert "Traceback" in log_text(tmp_path)


def test_an_interruption_is_exit_code_130(capsys):
    with pytest.raises(SystemExit) as ended:
        run_stage("clean", lambda: fail(KeyboardInterrupt()))
    assert ended.value.code == 130
    assert "run the same command again" in capsys.readouterr().err


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


def test_another_error_keeps_its_traceback():
    with pytest.raises(RuntimeError, match="a defect"):
        run_stage("clean", lambda: fail(RuntimeError("a defect")))


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
