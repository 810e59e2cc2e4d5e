"""Two clones of one project share results: by a remote of DVC on a disk, over SSH and on S3, and by one cache."""

import getpass
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
import yaml

from llm.__main__ import main
from llm.runs.packed import COMPARED, PACKED
from tests.clone import Clone, spoiled, stages_run
from tests.runs.test_run_files import level, write_run

SIDES = {"slow": 0.0, "fast": -0.5}  # what a run's replies need in bits per byte, beside each other
OUTS = ["metrics/detail", "metrics/scores.jsonl", "metrics/predictions.jsonl"]
DAG = {
    "stages": {
        "evaluate": {
            "cmd": "cp -r results/${side}/metrics .",
            "params": ["side"],
            "outs": [*OUTS, {PACKED: {"cache": False}}],
        }
    }
}
CONFIG = """\
[core]
    analytics = false
    remote = store
['remote "store"']
    url = {}
"""


class Project:
    """A clone in which git and DVC are run."""

    def __init__(self, folder, environment):
        self.folder = folder
        self.environment = os.environ | {"PYTHONWARNINGS": ""} | environment

    def run(self, *command):
        done = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def git(self, *words):
        return self.run("git", *words)

    def dvc(self, *words):
        return self.run(sys.executable, "-m", "dvc", *words)


def first_clone(folder, remote, environment):
    """A project whose only stage copies a run, at a commit with the side `slow`; `origin.git` is beside it."""
    first = Project(folder / "first", environment)
    for side, bits in SIDES.items():
        write_run(first.folder / "results" / side, level(bits))
    for name, content in {"dvc.yaml": DAG, "params.yaml": {"side": "slow"}}.items():
        (first.folder / name).write_text(yaml.safe_dump(content), encoding="utf-8")
    (first.folder / ".gitignore").write_text("".join(f"/{path}\n" for path in COMPARED), encoding="utf-8")
    (first.folder / ".dvc").mkdir()
    (first.folder / ".dvc/config").write_text(CONFIG.format(remote), encoding="utf-8")
    (first.folder / ".dvc/.gitignore").write_text("/tmp\n/cache\n", encoding="utf-8")
    first.git("init", "-q", "-b", "main")
    first.dvc("repro")
    first.git("add", "-A")
    first.git("commit", "-qm", "slow")
    first.git("clone", "-q", "--bare", ".", "../origin.git")
    first.git("remote", "add", "origin", "../origin.git")
    return first


def share(folder, monkeypatch, capsys, remote, environment):
    """Results go from one clone to another, which runs nothing and compares them with its own."""
    first = first_clone(folder, remote, environment)
    first.dvc("push")
    first.dvc("exp", "run", "--name", "fast", "-S", "side=fast")
    first.dvc("exp", "push", "origin", "fast")
    first.git("clone", "-q", "../origin.git", "../second")

    second = Project(folder / "second", environment)
    second.dvc("pull")
    assert "Data and pipelines are up to date" in second.dvc("status")
    assert stages_run(second.dvc("repro")) == []
    second.dvc("exp", "pull", "origin", "fast")
    monkeypatch.chdir(second.folder)
    capsys.readouterr()
    assert main(["compare", "fast", "workspace", "--model", "scratch"]) == 0
    assert "-0.5000" in capsys.readouterr().out
    second.dvc("exp", "apply", "fast")
    for name in ("metrics/scores.jsonl", "metrics/detail/settings.json"):
        assert (second.folder / name).read_bytes() == (second.folder / "results/fast" / name).read_bytes()


def test_a_second_clone_has_a_colleagues_results_by_a_folder(tmp_path, monkeypatch, capsys):
    share(tmp_path, monkeypatch, capsys, tmp_path / "store", {})


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


@contextmanager
def serving(port, command, log):
    """The server of that command, as soon as it answers at the port."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        for _ in range(600):
            assert process.poll() is None, log.read_text(encoding="utf-8")
            with socket.socket() as trying:
                if trying.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield
    finally:
        process.kill()
        process.wait()


SSHD = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/key.pub
PidFile none
PasswordAuthentication no
UsePAM no
StrictModes no
Subsystem sftp internal-sftp
"""


@pytest.mark.slow
def test_a_second_clone_has_a_colleagues_results_over_ssh(tmp_path, monkeypatch, capsys):
    pytest.importorskip("dvc_ssh", reason="dvc-ssh is an extra: python -m pip install -r requirements-extra.lock")
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if sshd is None or (os.geteuid() == 0 and not Path("/run/sshd").is_dir()):
        pytest.skip("no sshd is installed, or its folder /run/sshd is missing")
    port = free_port()
    for name in ("host_key", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    (tmp_path / "sshd_config").write_text(SSHD.format(port=port, folder=tmp_path), encoding="utf-8")
    remote = f"ssh://{getpass.getuser()}@127.0.0.1:{port}{tmp_path}/store\n    keyfile = {tmp_path}/key"
    with serving(port, [sshd, "-D", "-e", "-f", tmp_path / "sshd_config"], tmp_path / "sshd.log"):
        share(tmp_path, monkeypatch, capsys, remote, {"HOME": str(tmp_path)})


@pytest.mark.slow
def test_a_second_clone_has_a_colleagues_results_on_s3(tmp_path, monkeypatch, capsys):
    if not all(map(importlib.util.find_spec, ("dvc_s3", "moto", "flask_cors"))):
        pytest.skip("dvc-s3 is an extra, moto a server for tests: python -m pip install -r requirements-extra.lock")
    port = free_port()
    keys = {"AWS_ACCESS_KEY_ID": "t", "AWS_SECRET_ACCESS_KEY": "t", "AWS_DEFAULT_REGION": "us-east-1"}
    server = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with serving(port, server, tmp_path / "moto.log"):
        requests.put(f"http://127.0.0.1:{port}/tandem", timeout=60).raise_for_status()
        remote = f"s3://tandem/store\n    endpointurl = http://127.0.0.1:{port}"
        share(tmp_path, monkeypatch, capsys, remote, keys | {"HOME": str(tmp_path)})


BY_HAND = ("download_base", "clean", "train_judge", "plots")  # tests/test_pipeline.py does so with the others


@pytest.mark.slow
def test_the_real_pipelines_results_and_an_experiment_reach_a_second_clone(tmp_path):
    first = Clone(tmp_path / "first")
    first.dvc("remote", "add", "-d", "store", str(tmp_path / "store"))
    first.dvc("repro")
    first.run("git", "add", "-A")
    first.run("git", "commit", "-qm", "a run")
    first.run("git", "clone", "-q", "--bare", ".", str(tmp_path / "origin.git"))
    first.run("git", "remote", "add", "origin", str(tmp_path / "origin.git"))
    first.dvc("push")
    first.dvc("exp", "run", "--name", "fast", "-S", "train.lr=1e-4")
    first.dvc("exp", "push", "origin", "fast")

    second = Project(tmp_path / "second", first.environment)
    first.run("git", "clone", "-q", str(tmp_path / "origin.git"), str(second.folder))
    second.dvc("pull")
    assert stages_run(second.dvc("repro")) == []
    second.dvc("exp", "pull", "origin", "fast")
    table = second.run(sys.executable, "-m", "llm", "compare", "fast", "workspace", "--model", "scratch")
    assert re.search(r"^bpb\.all .* \+[0-9.]+ ", table, re.MULTILINE)  # more bits; the items are too few for a verdict
    for module in BY_HAND:  # over outputs that are links into the cache
        first.run(sys.executable, "-m", f"stages.{module}")
    assert spoiled(first.folder) == []
