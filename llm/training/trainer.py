"""What a run trains, on what, and with what; llm/training/loop.py says in which order."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from llm.machine import products_type
from llm.tokens.epochs import Epochs
from llm.tokens.packing import Packed
from llm.training.average import Average
from llm.training.checkpoint import State
from llm.training.clock import Clock
from llm.training.compilation import compile_model
from llm.training.distributed import own_rows, replicate
from llm.training.feeding import Batches
from llm.training.micro_batch import MicroBatch
from llm.training.progress import Progress
from llm.training.schedule import TIMED_HORIZON, TrainConfig, lr_factor, make_plan
from llm.training.step import make_optimizers
from llm.training.training_files import TrainingFiles


class Trainer:
    """The parts of one run: model, data, optimizers, what they have reached and where it is kept."""

    def __init__(
        self,
        model: Any,  # a LanguageModel
        train_data: Packed,
        val_data: Packed,
        config: TrainConfig,
        seed: int,
        device: torch.device,
        state: State,
        curve: Path | None = None,
    ) -> None:
        self.clock = Clock(config.budget_s)
        self.model = model.to(device).train()
        self.network = replicate(self.model)  # as the step uses it: the same weights, exchanged between processes
        self.val_data = val_data
        self.epochs = Epochs(train_data, seed)
        self.batches = Batches(self.epochs, device)
        self.config, self.seed, self.device = config, seed, device
        self.plan = make_plan(self.epochs.n_rows, config)
        self.optimizers = make_optimizers(model, config)
        self.trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        half = products_type(device) is torch.float16  # whose small gradients would be 0
        self.scaler = torch.amp.GradScaler(device.type, enabled=half)
        self.average = Average(self.trained, config.ema)
        self.micro_batch = MicroBatch(config.micro_batch, config.batch_size, list(self.trained.values()), device)
        self.progress = Progress()
        self.files = TrainingFiles(state, curve)

    def compile_model(self) -> None:
        """Compile the model where that is wanted and works, and note in the progress whether it is."""

        def compiled(size: int) -> bool:
            batch = self.epochs.batch(self.next_rows[:size])
            return compile_model(self.model, self.config.compile, batch, self.device)

        self.progress.compiled = self.micro_batch.within_memory(compiled)

    @property
    def ended(self) -> bool:
        """Whether the run takes no further step."""
        if self.plan.steps is None:
            return self.progress.step > 0 and self.clock.over
        return self.progress.step >= self.plan.steps

    @property
    def next_rows(self) -> Sequence[int]:
        """Numbers of this process's rows of the next batch."""
        return self.rows_of(self.progress.step)

    def rows_of(self, step: int) -> Sequence[int]:
        """Numbers of this process's rows of the batch at the 0-based step."""
        first = step * self.config.batch_size
        return own_rows(range(first, first + self.config.batch_size))

    @property
    def next_lr(self) -> float:
        """Learning rate of the next step: the schedule's, lowered by each rollback."""
        place = self.progress.step
        if self.plan.steps is None:
            place = math.ceil(self.clock.fraction * TIMED_HORIZON) - 1
        return self.config.lr * lr_factor(place, self.plan.horizon, self.config) * self.progress.lr_scale
