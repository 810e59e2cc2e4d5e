import os
import signal
import socket
import subprocess
import sys

import pytest
import requests

from tests.app.served import wait_until


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def start(repository, folder, port):
    return subprocess.Popen(
        [sys.executable, "-m", "llm", "serve", "--port", str(port)],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(repository)},
    )  # fmt: skip


@pytest.mark.parametrize("asked", [False, True], ids=["idle", "while it writes"])
def test_ctrl_c_ends_the_server_cleanly(repository, models, tmp_path, asked):
    (tmp_path / "models").symlink_to(models)
    port = free_port()
    command = start(repository, tmp_path, port)
    assert command.stdout.readline() == f"scratch, base at http://127.0.0.1:{port}  (Ctrl-C ends it)\n"

    def answers():
        try:
            return requests.get(f"http://127.0.0.1:{port}/api/models", timeout=1).status_code == 200
        except requests.ConnectionError:
            return False

    wait_until(answers, 60)
    if asked:
        body = {"model": "base", "messages": [{"role": "user", "content": "Why?"}], "max_tokens": 1024}
        reply = requests.post(f"http://127.0.0.1:{port}/api/reply", json=body, stream=True, timeout=30)
        next(reply.iter_lines())
    command.send_signal(signal.SIGINT)
    shown, errors = command.communicate(timeout=30)
    if asked:
        reply.close()
    assert command.returncode == 0 and shown == "ended\n"
    assert "Traceback" not in errors


def test_without_a_model_there_is_nothing_to_serve(repository, tmp_path):
    (tmp_path / "params.yaml").touch()
    command = start(repository, tmp_path, 1)
    shown, errors = command.communicate(timeout=60)
    assert command.returncode == 1 and shown == ""
    assert errors == "there is no trained model in models/: run `dvc repro` first\n"


def test_a_port_that_is_taken_is_named(repository, models, tmp_path):
    (tmp_path / "models").symlink_to(models)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = start(repository, tmp_path, taken.getsockname()[1])
        _, errors = command.communicate(timeout=60)
    assert command.returncode == 1 and errors.count("\n") == 1
    assert "Address already in use" in errors and errors.endswith("name others by --port and --host\n")
