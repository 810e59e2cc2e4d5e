"""torch.compile where it pays, tried on the first batch before a run relies on it."""

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from llm.tokens.packing import Batch
from llm.training.distributed import is_shard, least, random_states, restore_random_states
from llm.training.free_memory import is_out_of_memory
from llm.training.step import batch_loss, hidden_states

BACKEND: str | Callable[..., Any] = "inductor"  # torch's own
TOLERANCES = {"cuda": 2e-2}  # relative difference of hidden states: bf16 there, whose steps are 8e-3
TOLERANCE = 1e-4  # elsewhere, fp32

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
    try:
        _compile_blocks(model)
        states = _still_states(model, batch, device)
        batch_loss(model, batch, device).backward()  # type: ignore[no-untyped-call]
    except (RuntimeError, OSError, ImportError) as error:  # what is missing, and where, differs between backends
        _restore(model)
        if is_out_of_memory(error):
            raise
        return " ".join(str(error).split("\n")[:2])
    difference = float((states - expected).norm() / expected.norm())
    if not difference <= TOLERANCES.get(device.type, TOLERANCE):  # a NaN is wrong too
        return f"the hidden states differ by a relative {difference:.2g}"
    return None


def _still_states(model: Any, batch: Batch, device: torch.device) -> Tensor:
    """Hidden states (B, T, C) without dropout, computed as in training: with gradients recorded.

    The loss would say less: that of an untrained model is about log(V), whatever the blocks give.
    """
    model.eval()
    try:
        return hidden_states(model, batch, device).detach().float()
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
