"""The machine at hand: its device and how that computes, its processors, and an allocator that keeps what it has."""

import ctypes
import gc
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch

logger = logging.getLogger(__name__)

# glibc's malloc.h
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
TOP_PAD_BYTES = 64 * 1024 * 1024
PAD_BYTES = 128 * 1024  # glibc's default
ROOT = Path("/")
PRODUCT_CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")  # oneDNN's, and torch's in front of it
KEPT_PRODUCTS = 64  # shapes of products that each remembers; a training step has about twenty
HALF_FROM = 7  # CUDA's compute capability, Volta: the first whose tensor cores multiply fp16


@dataclass(frozen=True)
class Cpu:
    """What decides which kernels a processor runs fast."""

    vendor: str  # as it names itself, AuthenticAMD or GenuineIntel; empty where the system does not tell
    capability: str  # of which torch makes use: AVX512, AVX2, DEFAULT, ...


def this_cpu() -> Cpu:
    """The processor at hand."""
    return Cpu(cpu_line("vendor_id"), torch.backends.cpu.get_cpu_capability())


def has_amx() -> bool:
    """Whether the processor has Intel's matrix registers, in which oneDNN computes in bf16 where it may."""
    return "amx_bf16" in cpu_line("flags").split()


def cpu_line(key: str) -> str:
    """What the kernel says of the first processor; empty where there is no such file or line."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == key), "")


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


def keep_freed_memory() -> bool:
    """Make glibc keep freed memory for the next step instead of giving it back to the kernel; whether it does.

    Every large activation is otherwise mapped and faulted in anew (1 us per 4 KB page), half of a training step's
    time on a CPU. Nothing happens where the C library is another one.
    """
    return _set_malloc((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, TOP_PAD_BYTES))


def stop_padding() -> bool:
    """Make glibc take no more than it needs, since near a limit there is no room for its padding; whether it does."""
    return _set_malloc((M_TOP_PAD, PAD_BYTES))


def _set_malloc(*settings: tuple[int, int]) -> bool:
    """Change glibc's settings of malloc; whether it took them all."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        logger.info("no glibc: the allocator keeps its own settings")
        return False
    return all(mallopt(key, value) == 1 for key, value in settings)


def permit_onednn(permitted: bool) -> None:
    """Hand matrix products in fp32 to oneDNN, or leave them to torch's own choice.

    On AMD's processors MKL takes its AVX2 kernels: 99 GFLOP/s a core in fp32 on a Zen 5, where oneDNN's AVX-512 ones
    reach 225 with the same rounding. The setting *permits* bf16 inside a product; oneDNN makes use of that only with
    AMX, which no AMD processor has.

    oneDNN and torch each remember 1,024 shapes, a quarter of a megabyte for each, unless they are told otherwise before
    the first product. Texts of ever other lengths bring new ones, and what is kept of them lies between the large
    tensors, so that the heap grows by more than its size: with GPT-2 124M by 3 GB in an hour of training.
    """
    for cache in PRODUCT_CACHES:
        os.environ.setdefault(cache, str(KEPT_PRODUCTS))
    torch.backends.mkldnn.matmul.fp32_precision = "bf16" if permitted else "none"  # type: ignore[attr-defined]


@contextmanager
def plain_products() -> Iterator[None]:
    """Leave matrix products to torch's own choice meanwhile: small ones cost several times as much in oneDNN."""
    before = torch.backends.mkldnn.matmul.fp32_precision  # type: ignore[attr-defined]
    torch.backends.mkldnn.matmul.fp32_precision = "none"  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.backends.mkldnn.matmul.fp32_precision = before  # type: ignore[attr-defined]


def give_back_memory() -> None:
    """Give freed memory back to the system, as far as glibc can."""
    gc.collect()
    if sys.platform.startswith("linux"):
        with suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL("libc.so.6").malloc_trim(0)


def pick_device(name: str) -> torch.device:
    """The device called `name`; for "auto" the first of cuda, mps and cpu that is there.

    Raises ValueError when the named device is not there.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device, found in there.items() if found)
    if not there.get(name, False):
        raise ValueError(f"device {name} is not available here: set `device: auto` or `device: cpu` in params.yaml")
    return torch.device(name)


def number_type(device_type: str, bf16: bool, capability: int) -> torch.dtype:
    """Type of the products: bf16 where CUDA has it, else fp16 (T4, V100), fp32 on older GPUs and everywhere else.

    `bf16` is whether the GPU itself computes in it, not by emulation. On a CPU bf16 is slower than fp32 (LOG.md).
    """
    if device_type != "cuda":
        return torch.float32
    if bf16:
        return torch.bfloat16
    return torch.float16 if capability >= HALF_FROM else torch.float32


def products_type(device: torch.device) -> torch.dtype:
    """`number_type` of this device."""
    if device.type != "cuda":
        return number_type(device.type, False, 0)
    bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    return number_type(device.type, bf16, torch.cuda.get_device_capability()[0])


def name_of(dtype: torch.dtype) -> str:
    """Short name of a type.  name_of(torch.bfloat16) == 'bf16'"""
    return {torch.bfloat16: "bf16", torch.float16: "fp16"}.get(dtype, "fp32")


def allow_tf32(device: torch.device) -> bool:
    """Let CUDA multiply what stays fp32 by its tensor cores, with 10 bits of the mantissa; whether it now does.

    torch.backends.cuda.matmul.fp32_precision would set the same, but torch.compile may then ask for it by the older
    name, and torch raises where the two were mixed.
    """
    if device.type != "cuda":
        return False
    torch.set_float32_matmul_precision("high")
    return True
