"""What a training run has reached."""

import math
from dataclasses import dataclass, field


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
    skipped_steps: int = 0  # whose loss or gradient was not finite
    skipped_in_a_row: int = 0
    rollbacks: int = 0  # returns to the weights of `good_step`
    good_step: int = 0  # of the last finite validation
    lr_scale: float = 1.0  # lowered by each rollback
    history: list[dict[str, float | None]] = field(default_factory=list)  # None: trained on nothing since the last row

    def summary(self) -> dict[str, float | None]:
        """The closing numbers, without times."""
        return {
            **self.history[-1],
            "best_step": self.best_step,
            "best_val_loss": round(self.best_loss, 4),
            "best_val_ppl": round(math.exp(min(self.best_loss, 50.0)), 4),
            "skipped_steps": self.skipped_steps,
            "rollbacks": self.rollbacks,
        }
