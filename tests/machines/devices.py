"""Devices that are not at hand, seen operation by operation."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.machines.doubles import Machine, pretended

PRODUCTS = ("mm", "bmm", "addmm", "baddbmm", "addbmm", "linear", "mv", "addmv", "dot", "convolution")
ATTENTION = "_scaled_dot_product"  # beginning of the names of its kernels
WAITS = (
    *("_local_scalar_dense", "nonzero", "equal", "is_nonzero", "masked_select", "bincount"),
    *("_unique2", "unique_dim", "unique_consecutive"),
)
READS = ("tolist", "numpy", "cpu", "__array__", "allclose", "repeat_interleave")  # that no operation tells on a CPU
DOUBLE = (torch.float64, torch.complex128)


class NoFloat64(TorchDispatchMode):
    """A device that has no double precision, as Apple's MPS: whatever makes or takes such a tensor fails."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for t in tree_leaves((made, args, kwargs)):
            if isinstance(t, torch.Tensor) and t.dtype in DOUBLE:
                raise AssertionError(f"{func}: this device has no float64")
        return made


class Reads(TorchFunctionMode):
    """Collects where Python reads a tensor without an operation."""

    def __init__(self, waits: list[str]) -> None:
        super().__init__()
        self.waits = waits

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "")
        by_tensor = name != "repeat_interleave" or any(isinstance(t, torch.Tensor) for t in args[1:2])
        if name in READS and by_tensor:
            self.waits.append(name)
        return func(*args, **(kwargs or {}))


class Recorder(TorchDispatchMode):
    """Collects in which type matrices are multiplied, and where a device would be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.products: list[tuple[torch.dtype, torch.Size]] = []  # type and shape of a factor, of attention of the keys
        self.waits: list[str] = []
        self.reads = Reads(self.waits)

    def __enter__(self):
        self.reads.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self.reads.__exit__(*error)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        tensors = [t for t in args if isinstance(t, torch.Tensor)]
        if name in PRODUCTS:
            self.products.append((tensors[-1].dtype, tensors[-1].shape))
        if name.startswith(ATTENTION):
            self.products.append((tensors[1].dtype, tensors[1].shape))
        masks = [t for t in args[1] if t is not None] if name in ("index", "index_put", "index_put_") else []
        if name in WAITS or any(t.dtype in (torch.bool, torch.uint8) for t in masks):
            self.waits.append(str(func))
        return func(*args, **(kwargs or {}))


@contextmanager
def as_on_cuda() -> Iterator[None]:
    """Our code takes the tensors for ones of a GPU, and computes under its mixed precision."""
    with (
        pretended(Machine("AuthenticAMD", "AVX512", device="cuda")),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(
            "llm.training.step.mixed_precision", lambda device: torch.autocast("cpu", torch.bfloat16, enabled=True)
        )
        yield
