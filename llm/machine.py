"""The machine at hand: which device computes, and an allocator that keeps what it has."""

import ctypes
import functools
import gc
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from torch import Tensor

from llm.limits import limit_threads

logger = logging.getLogger(__name__)

# glibc's malloc.h
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
TOP_PAD_BYTES = 64 * 1024 * 1024
PAD_BYTES = 128 * 1024  # glibc's default


def tune_cpu() -> None:
    """Let this process allocate and multiply as fast as its processor allows, with the same results."""
    keep_freed_memory()
    limit_threads()
    if fast_products():
        logger.info("matrix products by oneDNN: on this processor MKL takes twice as long")


def keep_freed_memory() -> bool:
    """Make glibc keep freed memory for the next step instead of giving it back to the kernel; whether it does.

    Every large activation is otherwise mapped and faulted in anew (1 us per 4 KB page), half of a training step's
    time on a CPU. Nothing happens where the C library is another one.
    """
    return _set_malloc((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, TOP_PAD_BYTES))


def own_kernels(x: Tensor) -> bool:
    """Whether our own kernels take x: they are made for a CPU, and torch.compile cannot look into them."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


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


@functools.cache
def onednn_is_faster() -> bool:
    """Whether oneDNN multiplies faster than MKL, which would not use what this processor can do.

    On AMD's processors MKL takes its AVX2 kernels: 99 GFLOP/s a core in fp32 on a Zen 5, where oneDNN's AVX-512 ones
    reach 225 with the same rounding.
    """
    return torch.backends.cpu.get_cpu_capability() == "AVX512" and _vendor() == "AuthenticAMD"


def fast_products() -> bool:
    """Hand matrix products to oneDNN where it is faster; whether it is here.

    The setting *permits* bf16 inside a product; oneDNN makes use of that only with AMX, which no AMD processor has.
    """
    if not onednn_is_faster():
        return False
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"  # type: ignore[attr-defined]
    return True


@contextmanager
def plain_products() -> Iterator[None]:
    """Leave matrix products to torch's own choice meanwhile: small ones cost several times as much in oneDNN."""
    before = torch.backends.mkldnn.matmul.fp32_precision  # type: ignore[attr-defined]
    torch.backends.mkldnn.matmul.fp32_precision = "none"  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.backends.mkldnn.matmul.fp32_precision = before  # type: ignore[attr-defined]


def _vendor() -> str:
    """The processor's maker as it names itself; empty where the kernel does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id")), "")


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
