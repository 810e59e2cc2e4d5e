"""Several processes that train one model: who takes which rows, and how they agree.

One process needs none of this: every function then gives back what it got, and no process group exists.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """A block in which a process that torchrun started is joined with the others, on a GPU of its own."""
    if not dist.is_torchelastic_launched():
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    yield
    dist.destroy_process_group()  # not after an error: the others may be waiting inside a collective


def n_processes() -> int:
    """How many train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_first() -> bool:
    """Whether this is the process that writes files, logs and shows bars."""
    return rank() == 0


def own_rows(numbers: Sequence[int]) -> Sequence[int]:
    """The part of a batch's rows that this process takes; all parts are equally long.

    Raises ValueError when that cannot be.
    """
    each, rest = divmod(len(numbers), n_processes())
    if rest:
        raise ValueError(f"a batch of {len(numbers)} rows cannot be shared out equally to {n_processes()} processes")
    return numbers[rank() * each : (rank() + 1) * each]


def totals(*values: float) -> list[float]:
    """Each value summed over the processes."""
    if n_processes() == 1:
        return list(values)
    summed = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(summed)
    return summed.tolist()


def least(value: float) -> float:
    """The least that any process has."""
    if n_processes() == 1:
        return value
    smallest = torch.tensor(value, dtype=torch.float64)
    dist.all_reduce(smallest, dist.ReduceOp.MIN)
    return smallest.item()


def of_first(value: float) -> float:
    """The value that the first process has: a clock, for one, shows every process another time."""
    return totals(value if is_first() else 0.0)[0]


def wait_for_all() -> None:
    """Wait until every process has come to this line."""
    totals(0.0)


def same_everywhere(value: float) -> bool:
    """Whether all processes have this value."""
    return totals(float(value != of_first(value))) == [0.0]


def draw_apart(seed: int) -> None:
    """Seed torch's own generator (dropout) such that each process draws other numbers than the first."""
    if not is_first():
        torch.manual_seed(seed + rank() * 1_000_003)


def random_states(device: torch.device) -> dict[str, Tensor]:
    """The states of torch's generators in all processes, by name."""
    own = {"cpu": torch.get_rng_state()}
    if device.type != "cpu":
        own[device.type] = torch.get_device_module(device).get_rng_state()
    states: dict[str, Tensor] = {}
    for name, state in own.items():
        every = [torch.empty_like(state) for _ in range(n_processes())]
        if n_processes() == 1:
            every = [state]
        else:
            dist.all_gather(every, state)
        states |= {f"rng.{name}" + (f".{i}" if i else ""): s for i, s in enumerate(every)}
    return states


def restore_random_states(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Set torch's generators to what `random_states` gave, where this process had one then."""
    suffix = "" if is_first() else f".{rank()}"
    if (cpu := states.get(f"rng.cpu{suffix}")) is not None:
        torch.set_rng_state(cpu)
    if device.type != "cpu" and (own := states.get(f"rng.{device.type}{suffix}")) is not None:
        torch.get_device_module(device).set_rng_state(own)


class _Hidden(nn.Module):
    """A model whose forward pass is its `hidden`: DistributedDataParallel watches nothing else."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Last hidden states (B, T, C)."""
        return self.model.hidden(*args, **kwargs)


class Replicated(nn.Module):
    """The model, whole in every process; a backward pass leaves the mean of all processes' gradients (DDP)."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.parallel = nn.parallel.DistributedDataParallel(_Hidden(model), forward_sync_buffers=False)

    @property
    def head(self) -> Tensor:
        """Output matrix (V, C)."""
        return self.parallel.module.model.head

    def hidden(self, ids: Tensor, positions: Tensor | None = None, documents: Tensor | None = None) -> Tensor:
        """Last hidden states (B, T, C)."""
        return self.parallel(ids, positions=positions, documents=documents)


def replicate(model: Any) -> Any:
    """The model as the step uses it: itself in one process or when sharded, else kept equal in all processes."""
    return model if n_processes() == 1 or any(map(is_shard, model.parameters())) else Replicated(model)


def shard(model: Any, device: torch.device) -> None:
    """Spread every weight over the processes, a block's gathered while it computes (FSDP2).

    `model.blocks` are gathered one by one. Weights move to the device a block at a time: it never holds all of them.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    mesh = init_device_mesh(device.type, (n_processes(),))
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    register_fsdp_forward_method(model, "hidden")


def exchanging(model: Any, last: bool) -> AbstractContextManager[None]:
    """Inside, a backward pass of a replicated model exchanges gradients only if it is the step's last."""
    return nullcontext() if last or not isinstance(model, Replicated) else model.parallel.no_sync()


def is_shard(tensor: Tensor) -> bool:
    """Whether this process holds only a part of the tensor."""
    return n_processes() > 1 and hasattr(tensor, "full_tensor")


def whole(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with all their parts; every process has to ask at the same time."""
    return {name: t.full_tensor() if is_shard(t) else t for name, t in tensors.items()}  # type: ignore[attr-defined]


def placed_like(value: Tensor, parameter: Tensor) -> Tensor:
    """A whole tensor cut up as the parameter of its shape is, so that one can be copied into the other."""
    if not is_shard(parameter) or value.shape != parameter.shape:
        return value
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(parameter, DTensor)
    value = value.to(parameter.device)
    return distribute_tensor(value, parameter.device_mesh, parameter.placements, src_data_rank=None)
