"""The one training loop: hidden states -> head -> masked cross-entropy, for the GPT and for the Mistral alike."""

import logging
import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm

from llm.checkpoint import State, save_tensors
from llm.data import Batch, Packed, batch_rows
from llm.loss import summed_loss
from llm.memory import keep_freed_memory
from llm.optim import adamw, cosine_factor, muon, stable_factor
from llm.ranges import check_range

logger = logging.getLogger(__name__)


class LanguageModel(Protocol):
    """What the loop needs of a model that is also an nn.Module."""

    @property
    def head(self) -> Tensor:
        """Output matrix (V, C)."""

    def hidden(self, ids: Tensor, positions: Tensor | None = None, documents: Tensor | None = None) -> Tensor:
        """Last hidden states (B, T, C) of packed rows."""


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained; the keys of `train` and of `finetune.train`."""

    optimizer: Literal["adamw", "muon"]
    lr: float  # peak
    beta1: float  # momentum of Muon too
    beta2: float
    weight_decay: float
    max_norm: float
    batch_size: int  # rows a step
    micro_batch: int  # rows a forward pass
    epochs: int | None  # exactly one of epochs and max_steps
    max_steps: int | None
    schedule_epochs: int | None  # horizon of the schedule, when longer than the run
    schedule: Literal["cosine", "stable"]
    warmup: float  # share of the horizon
    decay: float  # share of the horizon, of the schedule `stable`
    final_lr: float  # share of the peak
    eval_every: int | None  # steps; null: once an epoch
    checkpoint_every: int | None  # steps; null: once an epoch
    keep: int
    state_every_s: float
    val_rows: int | None

    def __post_init__(self) -> None:
        check_range("lr", self.lr, 1e-9, 10.0)
        for name in ("beta1", "beta2"):
            check_range(name, getattr(self, name), 0.0, 0.99999)
        check_range("weight_decay", self.weight_decay, 0.0, 10.0)
        check_range("max_norm", self.max_norm, 1e-6, 1e6)
        for name in ("warmup", "decay", "final_lr"):
            check_range(name, getattr(self, name), 0.0, 1.0)
        for name in ("batch_size", "micro_batch", "epochs", "max_steps", "schedule_epochs", "eval_every", "val_rows"):
            if getattr(self, name) is not None:
                check_range(name, getattr(self, name), 1, 10**9)
        if self.checkpoint_every is not None:
            check_range("checkpoint_every", self.checkpoint_every, 1, 10**9)
        check_range("keep", self.keep, 0, 1000)
        check_range("state_every_s", self.state_every_s, 0.0, 86400.0)
        if (self.epochs is None) == (self.max_steps is None):
            raise ValueError(f"epochs is {self.epochs} and max_steps is {self.max_steps}: exactly one must be a number")
        if self.batch_size % self.micro_batch:
            raise ValueError(f"batch_size {self.batch_size} is not a multiple of micro_batch {self.micro_batch}")
        if self.schedule_epochs is not None and self.schedule_epochs < (self.epochs or self.schedule_epochs + 1):
            raise ValueError(f"schedule_epochs {self.schedule_epochs} needs epochs, of at most as many")

    def trajectory(self) -> dict[str, object]:
        """What shapes the run's path; with the horizon pinned, its length does not."""
        values = asdict(self)
        del values["state_every_s"]
        if self.schedule_epochs is not None:
            del values["epochs"]
        return values


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


@dataclass(frozen=True)
class Plan:
    """Step counts of a run."""

    steps: int
    horizon: int  # of the schedule
    steps_per_epoch: int
    eval_every: int
    checkpoint_every: int


def make_plan(n_rows: int, config: TrainConfig) -> Plan:
    """Step counts for a training set of `n_rows` rows."""
    per_epoch = max(1, math.ceil(n_rows / config.batch_size))
    steps = config.max_steps if config.epochs is None else config.epochs * per_epoch
    assert steps is not None
    horizon = steps if config.schedule_epochs is None else config.schedule_epochs * per_epoch
    return Plan(steps, horizon, per_epoch, config.eval_every or per_epoch, config.checkpoint_every or per_epoch)


def lr_factor(step: int, horizon: int, config: TrainConfig) -> float:
    """Share of the peak rate at 0-based `step`."""
    warmup = round(config.warmup * horizon)
    if config.schedule == "cosine":
        return cosine_factor(step, warmup, horizon, config.final_lr)
    return stable_factor(step, warmup, horizon, config.final_lr, round(config.decay * horizon))


def pick_device(name: str) -> torch.device:
    """The device called `name`; for "auto" the first of cuda, mps and cpu that is there.

    Raises ValueError when the named device is not there.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device, found in there.items() if found)
    if not there.get(name, False):
        raise ValueError(f"device {name} is not available here: set `device: auto` or `device: cpu` in params.yaml")
    return torch.device(name)


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
            "lr": round(config.lr * lr_factor(progress.step - 1, self.plan.horizon, config), 8),
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
