"""How many processes train together, and how a stage becomes that many."""

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from llm.ranges import check_range

LAUNCHED = "TORCHELASTIC_RUN_ID"  # torchrun sets it in every process it starts
SHUTDOWN_S = 120  # torchrun itself kills after 30 s; a process that waits for a lost one sees no signal
PORT = 29500  # of the machine where the processes meet; torchrun's own default


@dataclass(frozen=True)
class LaunchConfig:
    """On how much hardware the training stages run."""

    processes: int  # on each machine, one a GPU
    nodes: int  # machines, through Slurm's srun
    shard: bool  # the pretrained model is spread over the processes (FSDP2); False: each holds it whole (DDP)

    def __post_init__(self) -> None:
        check_range("processes", self.processes, 1, 1024)
        check_range("nodes", self.nodes, 1, 10_000)

    @property
    def size(self) -> int:
        """Processes in all."""
        return self.processes * self.nodes

    @property
    def sharded(self) -> bool:
        """Whether there is anything to spread the pretrained model over."""
        return self.shard and self.size > 1

    def check_batch(self, name: str, batch_size: int) -> None:
        """Raise ValueError where the batch cannot be shared out equally to the processes."""
        if batch_size % self.size:
            raise ValueError(f"{name} {batch_size} is not a multiple of launch.processes x launch.nodes, {self.size}")


def launch_command(config: LaunchConfig, module: str, environment: Mapping[str, str]) -> list[str]:
    """The command that runs a stage's module in all processes, by torchrun, on several machines by srun.

    Raises ValueError for several machines outside a Slurm job.
    """
    torchrun = [sys.executable, "-m", "llm.training.torchrun", "--nproc-per-node", str(config.processes)]
    torchrun += ["--shutdown-timeout", str(SHUTDOWN_S)]  # in which a process ends its step and saves its state
    if config.nodes == 1:
        return [*torchrun, "--standalone", "-m", module]
    if "SLURM_JOB_ID" not in environment:
        raise ValueError(f"launch.nodes is {config.nodes} outside a Slurm job: start from sbatch, or set it to 1")
    srun = ["srun", "--nodes", str(config.nodes), "--ntasks-per-node", "1", "--kill-on-bad-exit=1"]
    meeting = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"{socket.gethostname()}:{PORT}"]
    job = ["--nnodes", str(config.nodes), "--rdzv-id", environment["SLURM_JOB_ID"]]
    return [*srun, *torchrun, *job, *meeting, "-m", module]


def start_processes(config: LaunchConfig, module: str) -> None:
    """Put torchrun in this process's place, unless one process is enough or this is one that torchrun started.

    Raises SystemExit behind torchrun's end on Windows, where no process can take another's place.
    """
    if LAUNCHED in os.environ or config.size == 1:
        return
    command = launch_command(config, module, os.environ)
    if sys.platform == "win32":
        raise SystemExit(subprocess.run(command).returncode)
    os.execvp(command[0], command)  # signals and the exit code are torchrun's own
