"""Two machines train one model: two network namespaces with addresses, host names and a torchrun each, no Slurm.

They share the folder, as machines share a file system.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest
import torch
from safetensors.torch import load_file

from llm.models.registry import load_gpt
from llm.tokens.packing import open_corpus, pack_corpus
from llm.training.step import validation_loss
from tests.stages.test_kill_stages import STATES, corpus, set_training

__all__ = ["corpus"]  # a fixture
ADDRESSES = {"a": "10.77.0.1", "b": "10.77.0.2"}
PORT = "29501"
CLOSE = 1e-6  # nats a token
SIDE = "mount --bind {hosts} /etc/hosts && hostname node-{name} && exec {command}"


class Machine:
    """A network namespace, and the torchrun that runs in it under a host name of its own."""

    def __init__(self, name, folder):
        self.name, self.space, self.hosts = name, f"tandem{os.getpid()}{name}", folder / "hosts"

    def start(self, folder):
        """A torchrun with one process of train_scratch, in a session of its own."""
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
        meeting = ["--rdzv-backend", "c10d", "--rdzv-id", "7", "--rdzv-endpoint", f"node-a:{PORT}"]
        command = " ".join([*torchrun, *meeting, "-m", "stages.train_scratch"])
        side = SIDE.format(hosts=self.hosts, name=self.name, command=command)
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": ""}
        with (folder / f"machine-{self.name}.log").open("ab") as log:
            return subprocess.Popen(
            ["ip", "netns", "exec", self.space, "unshare", "--mount", "--uts", "bash", "-c", side],
            cwd=folder, env=environment, start_new_session=True, stdout=log, stderr=log,
        )  # fmt: skip

    def try_out(self):
        """Raise CalledProcessError where a process may not have host names of its own."""
        side = SIDE.format(hosts=self.hosts, name=self.name, command="true")
        ip("netns", "exec", self.space, "unshare", "--mount", "--uts", "bash", "-c", side)

    def die(self):
        """End everything that runs on it at once: torchrun's processes have sessions of their own."""
        for pid in ip("netns", "pids", self.space).split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


def ip(*words):
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def machines(tmp_path):
    """Two of them, with a cable between."""
    if os.geteuid() or not all(map(shutil.which, ("ip", "unshare", "mount", "hostname"))):
        pytest.skip("needs root, and the programs ip, unshare, mount and hostname")
    made = [Machine(name, tmp_path) for name in ADDRESSES]
    lines = ["127.0.0.1 localhost", *(f"{address} node-{name}" for name, address in ADDRESSES.items())]
    (tmp_path / "hosts").write_text("\n".join(lines) + "\n", encoding="utf-8")
    try:
        for machine in made:
            ip("netns", "add", machine.space)
        ends = [("cable", "netns", machine.space) for machine in made]
        ip("link", "add", *ends[0], "type", "veth", "peer", "name", *ends[1])
        for machine in made:
            ip("-n", machine.space, "addr", "add", f"{ADDRESSES[machine.name]}/24", "dev", "cable")
            for link in ("lo", "cable"):
                ip("-n", machine.space, "link", "set", link, "up")
            machine.try_out()
        yield made
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no namespaces here: {' '.join(error.stderr.split())}")
    finally:
        for machine in made:
            with suppress(subprocess.CalledProcessError):
                machine.die()
            subprocess.run(["ip", "netns", "del", machine.space], check=False, capture_output=True)


def train(machines, folder):
    """Start both, and wait for them: their exit codes."""
    return [process.wait(120) for process in [machine.start(folder) for machine in machines]]


def outputs(folder):
    return {path.name: path.read_bytes() for path in (folder / "models/scratch").glob("*.safetensors")}


def said(folder):
    return "\n".join(path.read_text(encoding="utf-8") for path in folder.glob("machine-*.log"))


def final_loss(folder):
    """Nats a token of the final weights on the validation set, in full precision."""
    scratch = folder / "models/scratch"
    model = load_gpt(scratch)
    model.load_state_dict(load_file(scratch / "final.safetensors"), strict=False)
    val = pack_corpus(open_corpus(folder / "data/tokens", "val"), 64, 1)
    return validation_loss(model, val, None, 8, torch.device("cpu"))


def curve(folder):
    return json.loads((folder / "models/scratch/metrics.json").read_text(encoding="utf-8"))


def test_two_machines_train_what_one_process_trains_and_a_killed_one_loses_nothing(machines, corpus, tmp_path):
    alone, both, killed = (shutil.copytree(corpus, tmp_path / name) for name in ("alone", "both", "killed"))
    subprocess.run(
        [sys.executable, "-m", "stages.train_scratch"], cwd=alone, check=True, capture_output=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": ""},
    )  # fmt: skip
    assert train(machines, both) == [0, 0], said(both)
    assert curve(both)[-1]["val_loss"] == pytest.approx(curve(alone)[-1]["val_loss"], abs=1e-4)  # so they are rounded
    assert final_loss(both) == pytest.approx(final_loss(alone), abs=CLOSE)

    set_training(killed, state_every_s=0.0)
    processes = [machine.start(killed) for machine in machines]
    seen = set()
    while len(seen) < 4:
        seen.update(killed.glob(STATES))
        assert processes[0].poll() is None, said(killed)
        time.sleep(0.01)
    machines[1].die()
    assert processes[0].wait(120) != 0  # it does not go on alone
    assert "another process of this training ended or cannot be reached" in said(killed)
    processes[1].wait(120)
    assert not (killed / "models/scratch/final.safetensors").exists()
    assert train(machines, killed) == [0, 0], said(killed)
    assert re.search(r"going on from step [1-9]", said(killed))
    assert outputs(killed) == outputs(both)
