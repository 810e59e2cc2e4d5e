"""Devices that are not at hand, seen operation by operation."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.machines.doubles import Machine, pretended

PRODUCTS = ("mm", "bmm", "addmm", "baddbmm", "linear")
WAITS = ("_local_scalar_dense", "nonzero", "equal", "is_nonzero", "masked_select")


class NoFloat64(TorchDispatchMode):
    """A device that has no double precision, as Apple's MPS: whatever makes such a tensor fails."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for t in made if isinstance(made, (tuple, list)) else [made]:
            if isinstance(t, torch.Tensor) and t.dtype == torch.float64:
                raise TypeError(f"{func}: this device has no float64")
        return made


class Recorder(TorchDispatchMode):
    """Collects in which type matrices are multiplied, and where a device would be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.products: list[tuple[torch.dtype, torch.Size]] = []  # type and shape of the second factor
        self.waits: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        tensors = [t for t in args if isinstance(t, torch.Tensor)]
        if name in PRODUCTS:
            self.products.append((tensors[-1].dtype, tensors[-1].shape))
        masks = [t for t in args[1] if t is not None] if name in ("index", "index_put", "index_put_") else []
        if name in WAITS or any(t.dtype == torch.bool for t in masks):
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
