"""What a container or a batch system allows this process: its cgroups, and the processors that it may use."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import torch

logger = logging.getLogger(__name__)

ROOT = Path("/")


def cgroup_folders(controller: str, root: Path = ROOT) -> Iterator[tuple[int, Path]]:
    """Version (1 or 2) and folder of this process's cgroup for the controller and of each cgroup above it.

    A folder need not be there: in a container the path is the host's, and the top is the container's own.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            version, top = 2, root / "sys/fs/cgroup"
        elif controller in controllers.split(","):
            version, top = 1, root / "sys/fs/cgroup" / controller
        else:
            continue
        own = top / path.strip("/")
        for folder in (own, *own.parents):
            yield version, folder
            if folder == top:
                break


def _quota(version: int, folder: Path) -> float | None:
    """Processors' worth of time that a cgroup allows, None where it sets no limit."""
    names = ("cpu.max",) if version == 2 else ("cpu.cfs_quota_us", "cpu.cfs_period_us")
    try:
        quota, period = " ".join((folder / name).read_text(encoding="utf-8") for name in names).split()
    except (OSError, ValueError):
        return None
    return int(quota) / int(period) if quota.isdigit() and int(period) > 0 else None  # "max", -1: no limit


def usable_processors(root: Path = ROOT) -> int:
    """Processors that this process can keep busy: those it may run on, and no more than its cgroups allow time for."""
    linux = hasattr(os, "sched_getaffinity")
    allowed = len(os.sched_getaffinity(0)) if linux else os.cpu_count() or 1
    quotas = [_quota(*found) for found in cgroup_folders("cpu", root)]
    return max(1, min([allowed, *(int(quota) for quota in quotas if quota is not None)]))


def limit_threads(root: Path = ROOT) -> None:
    """Let torch compute in no more threads than there are usable processors, unless OMP_NUM_THREADS says how many.

    torch counts the machine's processors: in a container that may use one of 64, its threads would wait for one
    another most of the time.
    """
    usable, threads = usable_processors(root), torch.get_num_threads()
    if usable < threads and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(usable)
        logger.info("%d threads instead of %d: no more processors may be used here", usable, threads)
