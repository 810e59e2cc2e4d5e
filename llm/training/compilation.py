"""torch.compile where it pays, tried on the first batch before a run relies on it."""

import logging
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from llm.failures import is_out_of_memory
from llm.machine import products_type
from llm.tokens.packing import Batch
from llm.training.distributed import is_shard, least, random_states, restore_random_states
from llm.training.step import batch_loss, hidden_states, states_as_they_are

BACKEND: str | Callable[..., Any] = "inductor"  # torch's own
TOLERANCE = 1e-4  # relative difference of hidden states in fp32
NOISE = 2.0  # of 16-bit numbers: how much farther from fp32 than the uncompiled ones, which grow worse by the layer

logger = logging.getLogger(__name__)


def compile_model(model: Any, mode: str, batch: Batch, device: torch.device) -> bool:
    """Whether the model now runs compiled; in all processes or in none.

    `mode` is auto (on CUDA only: on a CPU it gains nothing, LOG.md), always or never. Where the trial on the batch
    fails, the model stays as it was and a warning says why. Gradients are then gone, random states as before.
    """
    if mode == "never" or (mode == "auto" and device.type != "cuda"):
        return False
    states = random_states(device)
    why = _try(model, batch, device)
    model.zero_grad(set_to_none=True)
    restore_random_states(states, device)
    if why is not None:
        logger.warning("torch.compile does not work here, training goes on without it: %s", why)
    if least(float(why is None)) == 1.0:
        return True
    _restore(model)
    return False


def _try(model: Any, batch: Batch, device: torch.device) -> str | None:
    """Why compiled blocks do not do for this model, or None."""
    if any(map(is_shard, model.parameters())):
        return "the model is spread over several processes"
    expected = _still_states(model, batch, device)
    tolerance = TOLERANCE
    if products_type(device) is not torch.float32:
        exact = _exact_states(model, batch, device)
        expected, tolerance = exact, NOISE * _difference(expected, exact)
    try:
        _compile_blocks(model)
        states = _still_states(model, batch, device)
        batch_loss(model, batch, device).backward()  # type: ignore[no-untyped-call]
    except (RuntimeError, OSError, ImportError) as error:  # what is missing, and where, differs between backends
        _restore(model)
        if is_out_of_memory(error):
            raise
        return " ".join(str(error).split("\n")[:2])
    difference = _difference(states, expected)
    if not difference <= tolerance:  # a NaN is wrong too
        return f"the hidden states differ by a relative {difference:.2g}, where {tolerance:.2g} would be rounding"
    return None


def _difference(states: Tensor, expected: Tensor) -> float:
    """Norm of the difference, relative to that of what is expected."""
    return float((states - expected).norm() / expected.norm())


def _still_states(model: Any, batch: Batch, device: torch.device) -> Tensor:
    """Hidden states (B, T, C) without dropout, computed as in training: with gradients recorded.

    The loss would say less: that of an untrained model is about log(V), whatever the blocks give. The blocks, not
    their parts, are in training: where they keep no activations but compute them again, they do so here too.
    """
    model.eval()
    for block in model.blocks:
        block.training = True
    try:
        return hidden_states(model, batch, device).detach().float()
    finally:
        model.train()


class _InFp32(TorchFunctionMode):
    """A block in which functions get numbers of fewer bits as fp32, weights too."""

    def __torch_function__(
        self, function: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if function is F.embedding:  # its table is the largest of all, and only a few rows of it are needed
            return _widened(function(*args, **(kwargs or {})))
        args, kwargs = tree_map(_widened, (args, kwargs or {}))
        return function(*args, **kwargs)


def _widened(value: Any) -> Any:
    """A tensor of 16-bit numbers in fp32, anything else as it is."""
    return value.float() if isinstance(value, Tensor) and value.dtype in (torch.bfloat16, torch.float16) else value


@torch.no_grad()
def _exact_states(model: Any, batch: Batch, device: torch.device) -> Tensor:
    """Hidden states (B, T, C) without dropout, in fp32."""
    model.eval()
    try:
        with _InFp32():
            return states_as_they_are(model, batch, device)
    finally:
        model.train()


def _compile_blocks(model: Any) -> None:
    """Let the blocks run compiled where gradients are recorded. They are alike, so that one compilation serves all.

    Validation runs as ever: its last batch has another shape. The weights keep their names, as inside the module that
    torch.compile(model) gives they would not.
    """
    for block in model.blocks:
        block.forward = _in_training(torch.compile(block.forward, backend=BACKEND), block.forward)


def _in_training(compiled: Callable[..., Any], plain: Callable[..., Any]) -> Callable[..., Any]:
    """The compiled function where gradients are recorded, else the plain one."""

    def forward(*args: Any, **kwargs: Any) -> Any:
        return (compiled if torch.is_grad_enabled() else plain)(*args, **kwargs)

    return forward


def _restore(model: Any) -> None:
    """Let the blocks run uncompiled again."""
    for block in model.blocks:
        vars(block).pop("forward", None)  # the class's own is behind it
