"""How much memory is left, and how many rows of a batch fit into it."""

from collections.abc import Callable
from pathlib import Path

import psutil

from llm.machine import TOP_PAD_BYTES, cgroup_folders, give_back_memory

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
USABLE = 0.8  # of the free memory: the heap is fragmented, and other programs grow too
NO_LIMIT = 2**60  # bytes; cgroups of version 1 write a number of this size for "none"
# Of cgroups of versions 1 and 2: the limit, what is used of it, and which number of memory.stat says what is cached.
FILES = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    2: ("memory.max", "memory.current", "inactive_file"),
}


def _numbers(path: Path) -> dict[str, int]:
    """The numbers of a file of `name value` lines; empty when there is no such file."""
    try:
        lines = [line.replace(":", " ").split() for line in path.read_text(encoding="utf-8").splitlines()]
    except OSError:
        return {}
    return {line[0]: int(line[1]) for line in lines if len(line) > 1 and line[1].isdigit()}


def _number(path: Path) -> int:
    """The one number in a file; NO_LIMIT where it says `max` or is not there."""
    try:
        text = path.read_text(encoding="utf-8").strip()
    except OSError:
        return NO_LIMIT
    return int(text) if text.isdigit() else NO_LIMIT


def _left_in_cgroup(version: int, folder: Path) -> int:
    """Bytes up to the limit of one cgroup; the files it caches can be dropped, so they do not count as used."""
    limit, usage, cache = FILES[version]
    allowed = _number(folder / limit)
    if allowed >= NO_LIMIT:
        return NO_LIMIT
    return allowed - _number(folder / usage) + _numbers(folder / "memory.stat").get(cache, 0)


def free_memory(root: Path = Path("/")) -> int | None:
    """Bytes that this process may still take before the kernel stops it, None where /proc does not tell.

    The least of the machine's free memory, the cgroups' limits and the process's (`ulimit -v`, `ulimit -d`).
    """
    status = _numbers(root / "proc/self/status")
    machine = _numbers(root / "proc/meminfo").get("MemAvailable")
    if machine is None or not status:
        return None
    left = [machine * 1024, *(_left_in_cgroup(*found) for found in cgroup_folders("memory", root))]
    for limit, used in (("RLIMIT_AS", "VmSize"), ("RLIMIT_DATA", "VmData")):  # psutil has them where /proc is
        allowed = psutil.Process().rlimit(getattr(psutil, limit))[0]
        if allowed != psutil.RLIM_INFINITY:
            left.append(allowed - status[used] * 1024 - TOP_PAD_BYTES)  # malloc asks for so much more each time
    return max(0, min(left))


def peak_growth(work: Callable[[], object]) -> int | None:
    """Bytes by which the process grows at most while it works, None where the kernel does not tell.

    Freed memory goes back to the system first: what is taken from the process's own store would not be seen.
    """
    give_back_memory()
    before = _numbers(STATUS).get("VmRSS")
    try:
        CLEAR.write_text("5", encoding="ascii")  # the peak is counted from now on: proc(5), clear_refs
    except OSError:
        return None
    work()
    peak = _numbers(STATUS).get("VmHWM")
    return None if before is None or peak is None else max(0, peak - before) * 1024


def largest_divisor(batch_size: int, most: int) -> int:
    """Largest divisor of `batch_size` that is at most `most`, 1 at least.  largest_divisor(12, 5) == 4"""
    return next((n for n in range(min(most, batch_size), 0, -1) if batch_size % n == 0), 1)


def fitting_rows(batch_size: int, row: int, fixed: int, free: int) -> int:
    """Largest divisor of the batch whose rows, `row` bytes each, fit beside `fixed` bytes into what is free."""
    return largest_divisor(batch_size, int((USABLE * free - fixed) // max(1, row)))
