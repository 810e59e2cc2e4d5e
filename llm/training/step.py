"""One training step: hidden states -> head -> masked cross-entropy -> gradients -> clipping -> optimizer step."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from llm.machine import products_type
from llm.models.loss import summed_loss
from llm.tokens.packing import Batch, Packed
from llm.training.distributed import exchanging, is_shard, n_processes, rank, totals
from llm.training.optim import adamw, muon
from llm.training.schedule import TrainConfig


class LanguageModel(Protocol):
    """What the loop needs of a model that is also an nn.Module."""

    @property
    def head(self) -> Tensor:
        """Output matrix (V, C)."""

    def hidden(self, ids: Tensor, positions: Tensor | None = None, documents: Tensor | None = None) -> Tensor:
        """Last hidden states (B, T, C) of packed rows."""


def make_optimizers(model: nn.Module, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """The optimizers that together update every trainable parameter."""
    betas = (config.beta1, config.beta2)
    if config.optimizer == "adamw":
        return adamw(model, config.lr, betas, config.weight_decay)
    equal_rows = config.optimizer == "normuon"
    return muon(model, config.lr, config.beta1, betas, config.weight_decay, equal_rows=equal_rows)


def mixed_precision(device: torch.device) -> torch.autocast:
    """A block whose products are in the device's type of numbers."""
    dtype = products_type(device)
    return torch.autocast(device.type, dtype, enabled=dtype is not torch.float32)


def hidden_states(model: Any, batch: Batch, device: torch.device) -> Tensor:
    """Last hidden states (B, T, C) of one micro-batch, computed in the device's type of numbers."""
    with mixed_precision(device):
        return states_as_they_are(model, batch, device)


def states_as_they_are(model: Any, batch: Batch, device: torch.device) -> Tensor:
    """Last hidden states (B, T, C) of one micro-batch, computed in the types that the weights have."""
    ids, positions, documents = (_on(device, t) for t in (batch.ids, batch.positions, batch.documents))
    return model.hidden(ids, positions=positions, documents=documents)


def batch_loss(model: Any, batch: Batch, device: torch.device) -> Tensor:
    """Summed loss of one micro-batch."""
    states = hidden_states(model, batch, device)
    with mixed_precision(device):
        return summed_loss(states, model.head, _on(device, batch.targets))


def _on(device: torch.device, t: Tensor) -> Tensor:
    """The tensor on the device."""
    return t.to(device, non_blocking=True)


@dataclass(frozen=True)
class Losses:
    """What one pass over a batch gave."""

    sums: list[float]  # nats, one a micro-batch
    n_tokens: int  # supervised, in all of them

    @property
    def total(self) -> float:
        """Nats of all micro-batches."""
        return sum(self.sums)


def add_gradients(model: Any, batches: Sequence[Batch], device: torch.device, scaler: torch.amp.GradScaler) -> Losses:
    """The losses of the micro-batches; the gradient of their mean over all supervised tokens is in the parameters.

    Several processes each bring their batches: losses, tokens and gradient are those of all of them. The gradient is
    times the scaler's scale, where it has one; without a supervised token it is 0.
    """
    n_tokens = int(totals(sum(int((batch.targets >= 0).sum()) for batch in batches))[0])
    divisor = max(1, n_tokens) / n_processes()  # gradients are averaged over the processes, losses are not
    sums = []
    for i, batch in enumerate(batches):
        with exchanging(model, last=i == len(batches) - 1):
            loss = batch_loss(model, batch, device)
            scaler.scale(loss / divisor).backward()  # type: ignore[no-untyped-call]
        sums.append(loss.detach())
    return Losses(totals(*torch.stack(sums).tolist()), n_tokens)  # a GPU is waited for here, not at each micro-batch


def clip_gradients(parameters: Iterable[Tensor], max_norm: float) -> float:
    """Norm that the gradients of all parameters had together; they are scaled down to `max_norm` if it was larger."""
    norm = nn.utils.clip_grad_norm_(parameters, max_norm)
    return float(norm.full_tensor() if is_shard(norm) else norm)  # type: ignore[attr-defined]


def optimizer_step(optimizers: Sequence[torch.optim.Optimizer], lr: float) -> None:
    """Update the parameters at this learning rate and drop the gradients."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


@torch.no_grad()
def validation_loss(model: Any, data: Packed, rows: int | None, micro_batch: int, device: torch.device) -> float:
    """Mean negative log-likelihood (nats per supervised token) of the first `rows` rows, shared by all processes."""
    model.eval()
    sums, n = [], 0.0
    n_rows = min(len(data), rows or len(data))
    for start in range(0, n_rows, micro_batch * n_processes()):
        own = start + rank() * micro_batch
        batch = data.batch(list(range(own, min(own + micro_batch, n_rows))) or [0])
        if own >= n_rows:  # nothing is left, but a sharded model needs every process at every pass
            batch.targets.fill_(-1)
        sums.append(batch_loss(model, batch, device))
        n += int((batch.targets >= 0).sum())
    model.train()
    total, n = totals(sum(torch.stack(sums).tolist()), n)  # only here a GPU is waited for
    return total / max(1, n)
