"""How long a run is, how its learning rate moves, and every other number that shapes it."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal

from llm.ranges import check_range
from llm.training.optim import cosine_factor, stable_factor

TIMED_HORIZON = 10_000  # places on the schedule of a run that counts time, not steps


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained; the keys of `train` and of `finetune.train`."""

    optimizer: Literal["adamw", "muon", "normuon"]
    lr: float  # peak
    beta1: float  # momentum of Muon too
    beta2: float
    weight_decay: float
    max_norm: float
    batch_size: int  # rows a step
    micro_batch: int | None  # rows a forward pass; None: the most that fit into memory
    compile: Literal["auto", "always", "never"]  # auto: on CUDA
    epochs: int | None  # exactly one of epochs, max_steps and budget_s
    max_steps: int | None
    budget_s: float | None  # wall time
    schedule_epochs: int | None  # horizon of the schedule, when longer than the run
    schedule: Literal["cosine", "stable"]
    warmup: float  # share of the horizon
    decay: float  # share of the horizon, of the schedule `stable`
    final_lr: float  # share of the peak
    ema: float  # memory of the averaged weights, 0: none
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
        check_range("ema", self.ema, 0.0, 0.999999)
        check_range("keep", self.keep, 0, 1000)
        check_range("state_every_s", self.state_every_s, 0.0, 86400.0)
        if self.budget_s is not None:
            check_range("budget_s", self.budget_s, 1.0, 1e7)
        lengths = {name: getattr(self, name) for name in ("epochs", "max_steps", "budget_s")}
        if sum(value is not None for value in lengths.values()) != 1:
            told = ", ".join(f"{name} is {value}" for name, value in lengths.items())
            raise ValueError(f"{told}: exactly one must be a number")
        if self.micro_batch is not None and self.batch_size % self.micro_batch:
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


@dataclass(frozen=True)
class Plan:
    """Step counts of a run."""

    steps: int | None  # None: as many as its time allows
    horizon: int  # of the schedule
    steps_per_epoch: int
    eval_every: int
    checkpoint_every: int


def make_plan(n_rows: Callable[[int], int], config: TrainConfig) -> Plan:
    """Step counts for training data of so many rows in the first 1, 2, ... epochs."""

    def steps_of(epochs: int) -> int:
        return max(1, math.ceil(n_rows(epochs) / config.batch_size))

    per_epoch = steps_of(1)
    steps = config.max_steps if config.epochs is None else steps_of(config.epochs)
    horizon = TIMED_HORIZON if steps is None else steps
    if config.schedule_epochs is not None:
        horizon = steps_of(config.schedule_epochs)
    return Plan(steps, horizon, per_epoch, config.eval_every or per_epoch, config.checkpoint_every or per_epoch)


def lr_factor(step: int, horizon: int, config: TrainConfig) -> float:
    """Share of the peak rate at 0-based `step`."""
    warmup = round(config.warmup * horizon)
    if config.schedule == "cosine":
        return cosine_factor(step, warmup, horizon, config.final_lr)
    return stable_factor(step, warmup, horizon, config.final_lr, round(config.decay * horizon))
