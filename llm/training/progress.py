"""What a training run has reached."""

import math
from dataclasses import dataclass, field

from llm.training.step import Losses


@dataclass
class Progress:
    """What a run has reached; with the tensors it is the whole state."""

    step: int = 0  # steps done, the skipped ones among them
    best_step: int = 0
    best_loss: float = math.inf  # validation, nats per token
    tokens: int = 0  # supervised so far
    loss_sum: float = 0.0  # since the last row of the history
    loss_tokens: int = 0
    lr: float = 0.0  # of the last step
    seconds: float = 0.0  # of training, over all resumes
    step_s: float = 0.0  # of the last step
    closing_s: float = 0.0  # the longest that a validation with its files has taken
    micro_batch: int = 0  # rows a forward pass
    compiled: bool = False  # whether the model runs through torch.compile
    kernels: dict[str, bool] = field(default_factory=dict)  # llm/models/kernel_choice.py
    threads: int = 0  # among which a product is shared out: its sums are rounded in another order by more or fewer
    skipped_steps: int = 0  # whose loss or gradient was not finite
    skipped_in_a_row: int = 0
    empty_steps: int = 0  # whose batch had no supervised token: the weights stayed as they were
    overflowed_steps: int = 0  # skipped while the loss scale of fp16 was still too high
    scaler: dict[str, float] = field(default_factory=dict)  # state of that scale, empty where there is none
    rollbacks: int = 0  # returns to the weights of `good_step`
    good_step: int = 0  # of the last finite validation
    lr_scale: float = 1.0  # lowered by each rollback
    history: list[dict[str, float | None]] = field(default_factory=list)  # None: trained on nothing since the last row

    def add_step(self, losses: Losses) -> None:
        """Count the tokens and the loss of an optimizer step."""
        self.skipped_in_a_row = 0
        self.tokens += losses.n_tokens
        for loss in losses.sums:
            self.loss_sum += loss
        self.loss_tokens += losses.n_tokens

    def add_validation(self, val_loss: float, steps_per_epoch: int) -> dict[str, float | None]:
        """The new row of the history; `best_step` is this one where its loss is the lowest."""
        row = {
            "step": self.step,
            "epoch": round(self.step / steps_per_epoch, 4),
            "tokens": self.tokens,
            "lr": round(self.lr, 8),
            "train_loss": round(self.loss_sum / self.loss_tokens, 4) if self.loss_tokens else None,
            "val_loss": round(val_loss, 4),
            "val_ppl": round(math.exp(min(val_loss, 50.0)), 4),
        }
        self.history.append(row)
        self.loss_sum, self.loss_tokens = 0.0, 0
        self.good_step = self.step
        if val_loss < self.best_loss:
            self.best_loss, self.best_step = val_loss, self.step
        return row

    def summary(self) -> dict[str, float | None]:
        """The closing numbers, without times."""
        return {
            **self.history[-1],
            "best_step": self.best_step,
            "best_val_loss": round(self.best_loss, 4),
            "best_val_ppl": round(math.exp(min(self.best_loss, 50.0)), 4),
            "skipped_steps": self.skipped_steps,
            "empty_steps": self.empty_steps,
            "overflowed_steps": self.overflowed_steps,
            "rollbacks": self.rollbacks,
        }
