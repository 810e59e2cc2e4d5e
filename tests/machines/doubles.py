"""Machines that are not at hand: what our code asks of a machine answers as theirs would."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import torch

import llm.machine
from llm.models.kernel_choice import TABLE, Kernels, choose_kernels, kernels_in_use, use_kernels


@dataclass(frozen=True)
class Machine:
    """A processor and what computes beside it."""

    vendor: str
    capability: str
    device: str = "cpu"  # another one: our code takes the tensors for ones of a device; they stay where they are
    dtype: torch.dtype = torch.float32  # of the weights


MACHINES = [
    *(Machine(*row) for row in TABLE),
    Machine("GenuineIntel", "AVX512"),  # not in the table
    Machine("", "DEFAULT"),  # the kernel names no maker: ARM, macOS
    Machine("AuthenticAMD", "AVX512", dtype=torch.float64),
    Machine("GenuineIntel", "AVX2", dtype=torch.float64),
    Machine("AuthenticAMD", "AVX512", device="cuda"),
]
ASKING = ("llm.models.kernel_choice", "llm.models.loss")  # modules that ask on which device a tensor is


@contextmanager
def using(kernels: Kernels) -> Iterator[None]:
    """These kernels meanwhile; afterwards those that were in use before."""
    before, precision = kernels_in_use(), torch.backends.mkldnn.matmul.fp32_precision
    use_kernels(kernels)
    try:
        yield
    finally:
        use_kernels(before)
        torch.backends.mkldnn.matmul.fp32_precision = precision


@contextmanager
def pretended(machine: Machine) -> Iterator[Machine]:
    """Answers as this machine's meanwhile, and the kernels that are chosen there."""
    lines = {"vendor_id": machine.vendor, "flags": "avx2"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(llm.machine, "cpu_line", lambda key: lines.get(key, ""))
        patch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: machine.capability)
        if machine.device != "cpu":
            for module in ASKING:
                patch.setattr(f"{module}.on_cpu", lambda x: False)
        with using(choose_kernels(llm.machine.this_cpu())):
            yield machine
