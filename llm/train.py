"""The one training loop: hidden states -> head -> masked cross-entropy, for the GPT and for the Mistral alike."""

import logging
import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm

from llm.checkpoint import State, save_tensors
from llm.data import Batch, Packed, batch_rows
from llm.loss import summed_loss
from llm.machine import keep_freed_memory
from llm.optim import adamw, muon
from llm.schedule import TrainConfig, lr_factor, make_plan

logger = logging.getLogger(__name__)


class LanguageModel(Protocol):
    """What the loop needs of a model that is also an nn.Module."""

    @property
    def head(self) -> Tensor:
        """Output matrix (V, C)."""

    def hidden(self, ids: Tensor, positions: Tensor | None = None, documents: Tensor | None = None) -> Tensor:
        """Last hidden states (B, T, C) of packed rows."""


@dataclass
class Progress:
    """What a run has reached; with the tensors it is the whole state."""

    step: int = 0  # optimizer steps done
    best_step: int = 0
    best_loss: float = math.inf  # validation, nats per token
    tokens: int = 0  # supervised so far
    loss_sum: float = 0.0  # since the last row of the history
    loss_tokens: int = 0
    seconds: float = 0.0  # of training, over all resumes
    history: list[dict[str, float]] = field(default_factory=list)

    def summary(self) -> dict[str, float]:
        """The closing numbers, without times."""
        return {
            **self.history[-1],
            "best_step": self.best_step,
            "best_val_loss": round(self.best_loss, 4),
            "best_val_ppl": round(math.exp(min(self.best_loss, 50.0)), 4),
        }


def make_optimizers(model: nn.Module, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """The optimizers that together move every trainable parameter."""
    betas = (config.beta1, config.beta2)
    if config.optimizer == "adamw":
        return adamw(model, config.lr, betas, config.weight_decay)
    return muon(model, config.lr, config.beta1, betas, config.weight_decay)


def _move(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return tuple(t.to(device, non_blocking=True) for t in (batch.ids, batch.targets, batch.positions, batch.documents))  # type: ignore[return-value]


def _batch_loss(model: Any, batch: Batch, device: torch.device) -> Tensor:
    """Summed loss of one micro-batch; bf16 inside on CUDA, fp32 elsewhere (bf16 is slower on a CPU)."""
    ids, targets, positions, documents = _move(batch, device)
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        hidden = model.hidden(ids, positions=positions, documents=documents)
    return summed_loss(hidden, model.head, targets)


@torch.no_grad()
def validation_loss(model: Any, data: Packed, rows: int | None, micro_batch: int, device: torch.device) -> float:
    """Mean negative log-likelihood (nats per supervised token) of the first `rows` rows."""
    model.eval()
    total, n = 0.0, 0
    n_rows = min(len(data), rows or len(data))
    for start in range(0, n_rows, micro_batch):
        batch = data.batch(list(range(start, min(start + micro_batch, n_rows))))
        total += float(_batch_loss(model, batch, device))
        n += int((batch.targets >= 0).sum())
    model.train()
    return total / max(1, n)


@contextmanager
def _signals_wait() -> Iterator[list[int]]:
    """A list that receives SIGINT and SIGTERM, so that a step in progress ends and the state is saved."""
    received: list[int] = []
    previous = {
        number: signal.signal(number, lambda signum, _: received.append(signum))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class Training:
    """One run in progress: model, optimizers and what they have reached."""

    def __init__(
        self, model: Any, train: Packed, val: Packed, config: TrainConfig, seed: int, device: torch.device, state: State
    ) -> None:
        self.model, self.train, self.val = model.to(device).train(), train, val
        self.config, self.seed, self.device, self.state = config, seed, device, state
        self.plan = make_plan(len(train), config)
        self.optimizers = make_optimizers(model, config)
        self.trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.progress = Progress()

    def step(self) -> None:
        """Nothing; one optimizer step over `batch_size` rows, the loss averaged over all its supervised tokens."""
        config, progress = self.config, self.progress
        numbers = batch_rows(len(self.train), config.batch_size, self.seed, progress.step)
        micro = [
            self.train.batch(numbers[i : i + config.micro_batch]) for i in range(0, len(numbers), config.micro_batch)
        ]
        n_tokens = sum(int((batch.targets >= 0).sum()) for batch in micro)
        for batch in micro:
            loss = _batch_loss(self.model, batch, self.device)
            (loss / n_tokens).backward()  # type: ignore[no-untyped-call]
            progress.loss_sum += float(loss.detach())
        nn.utils.clip_grad_norm_(self.trained.values(), config.max_norm)
        factor = lr_factor(progress.step, self.plan.horizon, config)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = config.lr * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        progress.step += 1
        progress.tokens += n_tokens
        progress.loss_tokens += n_tokens

    def validate(self) -> None:
        """Nothing; a row is added to the history and the best weights are kept."""
        progress, config = self.progress, self.config
        val_loss = validation_loss(self.model, self.val, config.val_rows, config.micro_batch, self.device)
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
            save_tensors(self.state.folder / "best.safetensors", self.trained)
        logger.info(
            "step %d of %d, epoch %.2f: train loss %.4f, val loss %.4f, val ppl %.2f, lr %.2e",
            *(row["step"], self.plan.steps, row["epoch"], row["train_loss"], val_loss, row["val_ppl"], row["lr"]),
        )

    def save_checkpoint(self) -> None:
        """Nothing; weights and optimizer state of this step stand in the folder `checkpoints`, `keep` of them."""
        folder = self.state.folder / "checkpoints"
        name = f"step_{self.progress.step:08d}"
        save_tensors(folder / f"{name}.safetensors", self.trained)
        save_tensors(folder / f"{name}.optim", self._optimizer_tensors())
        for old in sorted(folder.glob("step_*"))[: -2 * self.config.keep or None]:
            old.unlink()

    def save_state(self) -> None:
        """Nothing; everything needed to go on from here bit for bit is on disk."""
        tensors = {f"model.{name}": p for name, p in self.trained.items()} | self._optimizer_tensors()
        tensors["rng.cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            tensors["rng.cuda"] = torch.cuda.get_rng_state(self.device)
        self.state.save(self.progress.step, tensors, vars(self.progress))

    def resume(self) -> bool:
        """Whether a saved state was found and taken up."""
        found = self.state.load()
        if found is None:
            return False
        tensors, values = found
        with torch.no_grad():
            for name, p in self.trained.items():
                p.copy_(tensors[f"model.{name}"])
        for i, optimizer in enumerate(self.optimizers):
            self._load_optimizer(optimizer, f"optimizer{i}.", tensors)
        torch.set_rng_state(tensors["rng.cpu"])
        if "rng.cuda" in tensors and self.device.type == "cuda":
            torch.cuda.set_rng_state(tensors["rng.cuda"], self.device)
        self.progress = Progress(**values)
        return True

    def _optimizer_tensors(self) -> dict[str, Tensor]:
        return {
            f"optimizer{i}.{index}.{name}": value
            for i, optimizer in enumerate(self.optimizers)
            for index, entries in optimizer.state_dict()["state"].items()
            for name, value in entries.items()
        }

    @staticmethod
    def _load_optimizer(optimizer: torch.optim.Optimizer, prefix: str, tensors: dict[str, Tensor]) -> None:
        entries: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith(prefix):
                index, name = key.removeprefix(prefix).split(".")
                entries.setdefault(int(index), {})[name] = value
        optimizer.load_state_dict({"state": entries, "param_groups": optimizer.state_dict()["param_groups"]})


def fit(
    model: Any, train: Packed, val: Packed, config: TrainConfig, seed: int, device: torch.device, state: State
) -> Progress:
    """What the run reached; the model (a LanguageModel) holds the final weights.

    Goes on from the last state in `state`, where there is one. The best weights (by validation loss) are in
    `best.safetensors` of its folder, periodic ones in `checkpoints`. SIGINT and SIGTERM save the state and raise
    KeyboardInterrupt.
    """
    keep_freed_memory()
    run = Training(model, train, val, config, seed, device, state)
    if run.resume():
        logger.info("going on from step %d of %d (%s)", run.progress.step, run.plan.steps, state.folder)
    else:
        run.validate()
    saved_at, started = time.monotonic(), time.monotonic() - run.progress.seconds
    (state.folder / "checkpoints").mkdir(exist_ok=True)
    bar = tqdm(total=run.plan.steps, initial=run.progress.step, unit="step", desc="train", mininterval=1.0)
    with _signals_wait() as signals, bar:
        while run.progress.step < run.plan.steps:
            run.step()
            bar.update()
            step, last = run.progress.step, run.progress.step == run.plan.steps
            if step % run.plan.eval_every == 0 or last:
                run.validate()
                bar.set_postfix(val_loss=run.progress.history[-1]["val_loss"])
            if step % run.plan.checkpoint_every == 0:
                run.save_checkpoint()
            run.progress.seconds = time.monotonic() - started
            if last or signals or time.monotonic() - saved_at >= config.state_every_s:
                run.save_state()
                saved_at = time.monotonic()
            if signals:
                raise KeyboardInterrupt(f"stopped at step {step}: run the same command again to go on from here")
    return run.progress
