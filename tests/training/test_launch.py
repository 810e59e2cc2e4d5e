import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from llm.training.launch import LAUNCHED, LaunchConfig, launch_command, start_processes

ONE = LaunchConfig(processes=1, nodes=1, shard=True)
FOUR = replace(ONE, processes=4)
SLURM = """#!{python}
import os, subprocess, sys
command = sys.argv[sys.argv.index("--kill-on-bad-exit=1") + 1 :]
assert sys.argv[1:5] == ["--nodes", "2", "--ntasks-per-node", "1"]
sys.exit(max(p.wait() for p in [subprocess.Popen(command) for _ in range(2)]))
"""
WORKER = """
import sys
from llm.training.launch import LaunchConfig, start_processes
start_processes(LaunchConfig(processes=1, nodes=2, shard=True), "worker")
import os
os.write(1, "rank {RANK} of {WORLD_SIZE}\\n".format_map(os.environ).encode())  # in one piece: both share the pipe
"""


def test_one_process_starts_no_others():
    start_processes(ONE, "stages.train_scratch")  # or this process would be torchrun now


def test_a_process_that_torchrun_started_starts_no_others(monkeypatch):
    monkeypatch.setenv(LAUNCHED, "1")
    start_processes(FOUR, "stages.train_scratch")


@pytest.mark.parametrize("code", [0, 1])
def test_where_no_process_can_take_anothers_place_torchrun_is_waited_for(monkeypatch, code):
    monkeypatch.delenv(LAUNCHED, raising=False)
    monkeypatch.setattr(sys, "executable", shutil.which("true" if code == 0 else "false"))
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(SystemExit) as ended:
        start_processes(FOUR, "stages.train_scratch")
    assert bool(ended.value.code) == bool(code)


def test_several_processes_are_started_by_torchrun():
    assert launch_command(FOUR, "stages.train_scratch", {}) == [
        sys.executable, "-m", "llm.training.torchrun", "--nproc-per-node", "4", "--shutdown-timeout", "120",
        "--standalone",
        "-m", "stages.train_scratch",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("end", "code", "told"),
    [
        ("os.kill(os.getpid(), 9)", 1, "a process of the training was ended by SIGKILL: run the same command again\n"),
        ("raise SystemExit(130)", 130, ""),
    ],
)
def test_torchrun_tells_the_end_of_a_process_in_a_line(tmp_path, repository, end, code, told):
    (tmp_path / "worker.py").write_text(f"import os, time\nif os.environ['RANK'] == '1': {end}\ntime.sleep(60)\n")
    command = [*launch_command(replace(ONE, processes=2), "worker", {})]
    environment = os.environ | {"PYTHONPATH": f"{repository}:{tmp_path}"}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stderr) == (code, told)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("loading", [True, False])
def test_torchrun_tells_in_a_line_that_it_was_interrupted(tmp_path, repository, name, loading):
    """Its processes could not: they were still loading, or it was itself."""
    waits = "import os, pathlib, time\npathlib.Path('there' + os.environ.get('RANK', '')).touch()\ntime.sleep(60)\n"
    (tmp_path / "worker.py").write_text(f"import signal\nsignal.signal(signal.SIGINT, signal.SIG_DFL)\n{waits}")
    if loading:
        (tmp_path / "torch.py").write_text(waits)
    environment = os.environ | {"PYTHONPATH": f"{repository}:{tmp_path}"}
    command = launch_command(replace(ONE, processes=2), "worker", {})
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as started:
        end = time.monotonic() + 120
        while len([*tmp_path.glob("there*")]) < (1 if loading else 2) and time.monotonic() < end:
            time.sleep(0.05)
        started.send_signal(getattr(signal, name))
        told = started.communicate(timeout=120)[1]
    assert (started.returncode, told) == (130, "torchrun interrupted: run the same command again\n")


def test_several_machines_meet_at_the_first_one_of_a_slurm_job():
    command = launch_command(replace(FOUR, nodes=2), "stages.train_scratch", {"SLURM_JOB_ID": "77"})
    assert command[:6] == ["srun", "--nodes", "2", "--ntasks-per-node", "1", "--kill-on-bad-exit=1"]
    assert command[command.index("--rdzv-endpoint") + 1] == f"{socket.gethostname()}:29500"
    assert command[command.index("--rdzv-id") + 1] == "77"


def test_several_machines_outside_slurm_are_refused():
    with pytest.raises(ValueError, match=r"launch\.nodes is 2 outside a Slurm job: start from sbatch"):
        launch_command(replace(ONE, nodes=2), "stages.train_scratch", {})


def test_a_batch_is_shared_out_equally_or_refused():
    FOUR.check_batch("train.batch_size", 16)
    with pytest.raises(ValueError, match=r"^train\.batch_size 16 is not a multiple of .*, 12$"):
        replace(FOUR, nodes=3).check_batch("train.batch_size", 16)


@pytest.mark.parametrize(
    ("config", "sharded"),
    [(ONE, False), (FOUR, True), (replace(ONE, nodes=2), True), (replace(FOUR, shard=False), False)],
)
def test_only_several_processes_shard(config, sharded):
    assert config.sharded == sharded


def test_two_machines_find_each_other(tmp_path, repository):
    """A stand-in for srun starts both machines' torchrun here."""
    srun = tmp_path / "srun"
    srun.write_text(SLURM.format(python=sys.executable), encoding="utf-8")
    srun.chmod(0o755)
    (tmp_path / "worker.py").write_text(WORKER, encoding="utf-8")
    environment = os.environ | {
        "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": f"{repository}:{tmp_path}", "SLURM_JOB_ID": "77",
    }  # fmt: skip
    command = [sys.executable, "-m", "worker"]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert sorted(ended.stdout.splitlines()) == ["rank 0 of 2", "rank 1 of 2"]
