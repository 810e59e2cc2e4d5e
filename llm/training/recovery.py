"""Recovery from losses and gradients that are not finite: a step is skipped, a streak of them rolls the run back."""

import logging
import math

from llm.training.resume import load_weights
from llm.training.step import Losses
from llm.training.trainer import Trainer

MAX_SKIPPED = 5  # steps in a row whose loss or gradient is not finite, before the run is rolled back
MAX_ROLLBACKS = 3  # of a run; then its numbers are wrong, not the luck of a few batches
SETTLED = 20  # steps after which the loss scale of fp16 is one that suits the run
LR_CUT = 0.5  # of each rollback
ADVICE = "lower lr or max_norm, raise warmup, or look at the data"

logger = logging.getLogger(__name__)


def is_finite(losses: Losses, norm: float) -> bool:
    """Whether an optimizer step with this loss and this gradient norm does the weights no harm."""
    return math.isfinite(losses.total + norm)


def drop_gradients(trainer: Trainer) -> None:
    """Leave weights and optimizers as they are."""
    for optimizer in trainer.optimizers:
        optimizer.zero_grad(set_to_none=True)


def pass_over(trainer: Trainer) -> None:
    """Count a batch that has nothing to learn: no weight decays, no streak of skipped steps ends or begins."""
    drop_gradients(trainer)
    trainer.progress.empty_steps += 1
    logger.info("step %d changes nothing: its batch has no supervised token", trainer.progress.step)


def is_overflow(trainer: Trainer, losses: Losses) -> bool:
    """Whether a gradient is not finite because the loss scale of fp16 begins too high.

    Once SETTLED steps have been taken, or the scale is down to 1, it is a fault like any other.
    """
    scaler, progress = trainer.scaler, trainer.progress
    taken = progress.step - progress.overflowed_steps - progress.skipped_steps - progress.empty_steps
    begins = scaler.is_enabled() and taken <= SETTLED
    return begins and math.isfinite(losses.total) and scaler.get_scale() > 1.0


def lower_scale(trainer: Trainer) -> None:
    """Count a step that is skipped until the scaler has found its scale."""
    drop_gradients(trainer)
    trainer.progress.overflowed_steps += 1
    logger.info("step %d overflows: the loss scale is halved", trainer.progress.step)


def skip_step(trainer: Trainer, losses: Losses, norm: float) -> None:
    """Drop the gradients, leaving weights and optimizers as they are; roll back after MAX_SKIPPED in a row."""
    progress = trainer.progress
    drop_gradients(trainer)
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
