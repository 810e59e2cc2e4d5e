"""One training run in progress: what it does at a step, a validation, a checkpoint, a saved state."""

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from llm.checkpoint import State, load_optimizers, optimizer_tensors, save_tensors
from llm.data import Packed, batch_rows
from llm.distributed import (
    draw_apart,
    is_first,
    own_rows,
    placed_like,
    random_states,
    replicate,
    restore_random_states,
    same_everywhere,
    whole,
)
from llm.progress import Progress
from llm.schedule import TrainConfig, lr_factor, make_plan
from llm.step import add_gradients, make_optimizers, move, validation_loss

logger = logging.getLogger(__name__)


def _save_whole(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Nothing; the first process writes the tensors, to which the others give their parts."""
    tensors = whole(tensors)
    if is_first():
        save_tensors(path, tensors)


class Training:
    """One run in progress: model, optimizers and what they have reached."""

    def __init__(
        self, model: Any, train: Packed, val: Packed, config: TrainConfig, seed: int, device: torch.device, state: State
    ) -> None:
        self.model, self.train, self.val = model.to(device).train(), train, val
        self.config, self.seed, self.device, self.state = config, seed, device, state
        self.network = replicate(self.model)
        self.plan = make_plan(len(train), config)
        self.optimizers = make_optimizers(model, config)
        self.trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.progress = Progress()
        draw_apart(seed)

    def step(self) -> None:
        """Nothing; one optimizer step over `batch_size` rows, the loss averaged over all its supervised tokens."""
        config, progress = self.config, self.progress
        numbers = own_rows(batch_rows(len(self.train), config.batch_size, self.seed, progress.step))
        parts = range(0, len(numbers), config.micro_batch)
        batches = [self.train.batch(numbers[i : i + config.micro_batch]) for i in parts]
        losses = add_gradients(self.network, batches, self.device)
        nn.utils.clip_grad_norm_(self.trained.values(), config.max_norm)
        move(self.optimizers, config.lr * lr_factor(progress.step, self.plan.horizon, config))
        progress.step += 1
        progress.tokens += losses.n_tokens
        for loss in losses.sums:
            progress.loss_sum += float(loss)
        progress.loss_tokens += losses.n_tokens

    def validate(self) -> None:
        """Nothing; a row is added to the history and the best weights are kept."""
        progress, config = self.progress, self.config
        val_loss = validation_loss(self.network, self.val, config.val_rows, config.micro_batch, self.device)
        row = {
            "step": progress.step,
            "epoch": round(progress.step / self.plan.steps_per_epoch, 4),
            "tokens": progress.tokens,
            "lr": round(config.lr * lr_factor(max(0, progress.step - 1), self.plan.horizon, config), 8),
            "train_loss": round(progress.loss_sum / max(1, progress.loss_tokens), 4),
            "val_loss": round(val_loss, 4),
            "val_ppl": round(math.exp(min(val_loss, 50.0)), 4),
        }
        progress.history.append(row)
        progress.loss_sum, progress.loss_tokens = 0.0, 0
        if val_loss < progress.best_loss:
            progress.best_loss, progress.best_step = val_loss, progress.step
            _save_whole(self.state.folder / "best.safetensors", self.trained)
        logger.info(
            "step %d of %d, epoch %.2f: train loss %.4f, val loss %.4f, val ppl %.2f, lr %.2e",
            *(row["step"], self.plan.steps, row["epoch"], row["train_loss"], val_loss, row["val_ppl"], row["lr"]),
        )

    def save_checkpoint(self) -> None:
        """Nothing; weights and optimizer state of this step stand in the folder `checkpoints`, `keep` of them."""
        folder = self.state.folder / "checkpoints"
        name = f"step_{self.progress.step:08d}"
        _save_whole(folder / f"{name}.safetensors", self.trained)
        _save_whole(folder / f"{name}.optim", optimizer_tensors(self.optimizers))
        for old in sorted(folder.glob("step_*"))[: -2 * self.config.keep or None] if is_first() else []:
            old.unlink()

    def save_state(self) -> None:
        """Nothing; everything needed to go on from here bit for bit is on disk."""
        tensors = {f"model.{name}": p for name, p in self.trained.items()} | optimizer_tensors(self.optimizers)
        self.state.save(self.progress.step, tensors | random_states(self.device), vars(self.progress))

    def resume(self) -> bool:
        """Whether a saved state was found and taken up."""
        found = self.state.load()
        if not same_everywhere(found[1]["step"] if found else -1):
            raise ValueError(
                f"the processes find different states in {self.state.folder}: it must be one shared folder"
            )
        if found is None:
            return False
        tensors, values = found
        with torch.no_grad():
            for name, p in self.trained.items():
                p.copy_(placed_like(tensors[f"model.{name}"], p))
        load_optimizers(self.optimizers, tensors)
        restore_random_states(tensors, self.device)
        self.progress = Progress(**values)
        return True
