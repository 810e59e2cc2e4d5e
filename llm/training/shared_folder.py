"""Whether all processes of a training see one folder: on several machines that is no matter of course."""

import secrets
import socket
import time
from contextlib import suppress
from pathlib import Path

import torch.distributed as dist
from filelock import Timeout

from llm.files import hold_lock, write_bytes
from llm.training.distributed import is_first, n_processes, of_first, wait_for_all

WAIT_S = 60.0  # NFS shows a machine the names that another one wrote within this time, if nobody set another (acdirmax)
SEEN = ("does not see what {} writes there", "goes on seeing what {} has replaced there")  # first file, second file


def check_shared(folder: Path, lock: Path) -> list[str]:
    """Machines that could take the lock, which the first process holds: there nobody notices a second run.

    Raises ValueError naming the machines that do not see in the folder what the first process writes and replaces.
    """
    if n_processes() == 1:
        return []
    first, probe = _every(socket.gethostname())[0], folder / "shared"
    for complaint in SEEN:
        token = str(int(of_first(secrets.randbits(48)))).encode()  # a float has room for 53 bits
        if is_first():
            write_bytes(probe, token)
        wait_for_all()
        blind = _machines(not _reads(probe, token))
        if blind:
            told = f"{', '.join(blind)} {complaint.format(first)}: {folder.resolve()}"
            raise ValueError(f"{told}. The project's folder must be on a file system that all machines share")
    open_to = _machines(not is_first() and _takes(lock))
    if is_first():
        probe.unlink()
    return open_to


def _every(value: str | None) -> list[str | None]:
    """The value of each process."""
    values: list[str | None] = [None] * n_processes()
    dist.all_gather_object(values, value)
    return values


def _machines(concerned: bool) -> list[str]:
    """Host names of the processes that it concerns, each once."""
    names = _every(socket.gethostname() if concerned else None)
    return list(dict.fromkeys(name for name in names if name))


def _reads(path: Path, content: bytes) -> bool:
    """Whether the file comes to have that content within WAIT_S."""
    until = time.monotonic() + WAIT_S
    while True:
        with suppress(OSError):  # not there yet, or replaced while it was read (ESTALE)
            if path.read_bytes() == content:
                return True
        if time.monotonic() > until:
            return False
        time.sleep(0.1)


def _takes(path: Path) -> bool:
    """Whether this process can take the lock; it gives it back."""
    try:
        with hold_lock(path):
            return True
    except Timeout:
        return False
