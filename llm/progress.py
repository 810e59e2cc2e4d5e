"""What a training run has reached."""

import math
from dataclasses import dataclass, field


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
