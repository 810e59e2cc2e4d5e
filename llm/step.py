"""One training step: hidden states -> head -> masked cross-entropy, gradients, the optimizers' move."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from llm.data import Batch, Packed
from llm.loss import summed_loss
from llm.optim import adamw, muon
from llm.schedule import TrainConfig


class LanguageModel(Protocol):
    """What the loop needs of a model that is also an nn.Module."""

    @property
    def head(self) -> Tensor:
        """Output matrix (V, C)."""

    def hidden(self, ids: Tensor, positions: Tensor | None = None, documents: Tensor | None = None) -> Tensor:
        """Last hidden states (B, T, C) of packed rows."""


def make_optimizers(model: nn.Module, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """The optimizers that together move every trainable parameter."""
    betas = (config.beta1, config.beta2)
    if config.optimizer == "adamw":
        return adamw(model, config.lr, betas, config.weight_decay)
    return muon(model, config.lr, config.beta1, betas, config.weight_decay)


def _to_device(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return tuple(t.to(device, non_blocking=True) for t in (batch.ids, batch.targets, batch.positions, batch.documents))  # type: ignore[return-value]


def batch_loss(model: Any, batch: Batch, device: torch.device) -> Tensor:
    """Summed loss of one micro-batch; bf16 inside on CUDA, fp32 elsewhere (bf16 is slower on a CPU)."""
    ids, targets, positions, documents = _to_device(batch, device)
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        hidden = model.hidden(ids, positions=positions, documents=documents)
    return summed_loss(hidden, model.head, targets)


@dataclass(frozen=True)
class Losses:
    """What one pass over a batch gave."""

    sums: list[Tensor]  # nats, one a micro-batch
    n_tokens: int  # supervised, in all of them


def add_gradients(model: Any, batches: Sequence[Batch], device: torch.device) -> Losses:
    """The losses of the micro-batches; the gradient of their mean over all supervised tokens is in the parameters."""
    n_tokens = sum(int((batch.targets >= 0).sum()) for batch in batches)
    sums = []
    for batch in batches:
        loss = batch_loss(model, batch, device)
        (loss / n_tokens).backward()  # type: ignore[no-untyped-call]
        sums.append(loss.detach())
    return Losses(sums, n_tokens)


def move(optimizers: Sequence[torch.optim.Optimizer], lr: float) -> None:
    """Nothing; the optimizers have moved their parameters at this rate, the gradients are gone."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


@torch.no_grad()
def validation_loss(model: Any, data: Packed, rows: int | None, micro_batch: int, device: torch.device) -> float:
    """Mean negative log-likelihood (nats per supervised token) of the first `rows` rows."""
    model.eval()
    total, n = 0.0, 0
    n_rows = min(len(data), rows or len(data))
    for start in range(0, n_rows, micro_batch):
        batch = data.batch(list(range(start, min(start + micro_batch, n_rows))))
        total += float(batch_loss(model, batch, device))
        n += int((batch.targets >= 0).sum())
    model.train()
    return total / max(1, n)
