"""Recovery from losses and gradients that are not finite: a step is skipped, a streak of them rolls the run back."""

import logging
import math

from llm.training.resume import load_weights
from llm.training.step import Losses
from llm.training.trainer import Trainer

MAX_SKIPPED = 5  # steps in a row whose loss or gradient is not finite, before the run is rolled back
MAX_ROLLBACKS = 3  # of a run; then its numbers are wrong, not the luck of a few batches
LR_CUT = 0.5  # of each rollback
ADVICE = "lower lr or max_norm, raise warmup, or look at the data"

logger = logging.getLogger(__name__)


def is_finite(losses: Losses, norm: float) -> bool:
    """Whether an optimizer step with this loss and this gradient norm does the weights no harm."""
    return math.isfinite(losses.total + norm)


def skip_step(trainer: Trainer, losses: Losses, norm: float) -> None:
    """Drop the gradients, leaving weights and optimizers as they are; roll back after MAX_SKIPPED in a row."""
    progress = trainer.progress
    for optimizer in trainer.optimizers:
        optimizer.zero_grad(set_to_none=True)
    progress.skipped_steps += 1
    progress.skipped_in_a_row += 1
    why = f"loss {losses.total / losses.n_tokens:.4g}, gradient norm {norm:.4g}"
    logger.warning("step %d is skipped, %d in a row: %s", progress.step, progress.skipped_in_a_row, why)
    if progress.skipped_in_a_row == MAX_SKIPPED:
        roll_back(trainer, why)


def roll_back(trainer: Trainer, why: str) -> None:
    """Go back to weights and optimizers of the last good validation, at a lower rate from now on; the data go on.

    So Chowdhery et al. 2022 (PaLM, section 5.1) met loss spikes: other batches from earlier weights.

    Raises ValueError when there is nothing to go back to, or going back has not helped.
    """
    progress = trainer.progress
    if not progress.history:
        raise ValueError(f"the model gives no finite loss before its first step ({why}): {ADVICE}")
    if progress.rollbacks == MAX_ROLLBACKS:
        raise ValueError(f"no finite loss at step {progress.step} after {MAX_ROLLBACKS} rollbacks ({why}): {ADVICE}")
    load_weights(trainer, trainer.files.state.load_step(progress.good_step))
    progress.rollbacks += 1
    progress.lr_scale *= LR_CUT
    progress.skipped_in_a_row = 0
    told = (progress.step, progress.good_step, progress.lr_scale, why)
    logger.warning("step %d: back to the weights of step %d, lr times %g from now on: %s", *told)
