"""The one training loop, for the GPT and for the Mistral alike: `training_steps`, from the first step to the last."""

import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from llm.machine import allow_tf32, name_of, products_type
from llm.models.kernel_choice import tune_cpu
from llm.tokens.packing import Packed
from llm.training.checkpoint import State
from llm.training.distributed import draw_apart, is_first, of_first, totals
from llm.training.progress import Progress
from llm.training.recovery import is_finite, is_overflow, lower_scale, pass_over, roll_back, skip_step
from llm.training.resume import resume, save_state
from llm.training.schedule import TrainConfig
from llm.training.signals import signals_wait
from llm.training.step import Losses, add_gradients, clip_gradients, optimizer_step, validation_loss
from llm.training.trainer import Trainer

# The code that computes a trajectory whatever the model is: a state saved by other code is not resumed.
ENGINE = (
    *("llm.machine", "llm.models.attention", "llm.tokens.epochs", "llm.tokens.mixture", "llm.tokens.packing"),
    *("llm.models.kernel_choice", "llm.models.kernels", "llm.models.loss"),
    *("llm.training.average", "llm.training.clock", "llm.training.compilation", "llm.training.distributed"),
    *("llm.training.loop", "llm.training.micro_batch", "llm.training.optim", "llm.training.progress"),
    *("llm.training.recovery", "llm.training.resume", "llm.training.schedule", "llm.training.step"),
    *("llm.training.feeding", "llm.training.trainer"),
)

logger = logging.getLogger(__name__)


def micro_batch_gradients(trainer: Trainer, rows: Sequence[int], size: int) -> Losses:
    """Losses of the rows, `size` of them at a time; their gradients are added up in the parameters."""
    batches = trainer.batches.take(rows, size)
    trainer.batches.prepare(trainer.rows_of(trainer.progress.step + 1), size)
    return add_gradients(trainer.network, batches, trainer.device, trainer.scaler)


def batch_gradients(trainer: Trainer, rows: Sequence[int]) -> Losses:
    """Losses of the rows, in micro-batches that fit into memory; their gradients are added up in the parameters."""
    return trainer.micro_batch.within_memory(lambda size: micro_batch_gradients(trainer, rows, size))


def begin(trainer: Trainer) -> None:
    """Find the micro-batch, compile and validate the model, save the state of step 0.

    Raises ValueError when no time is left for a step.
    """
    trainer.micro_batch.find(lambda: micro_batch_gradients(trainer, [0], 1))
    trainer.compile_model()
    trainer.progress.lr = trainer.next_lr
    with trainer.clock.closing():
        validate(trainer)
        save_state(trainer)
    if of_first(trainer.clock.limit_s) <= 0:
        raise ValueError(
            f"budget_s {trainer.config.budget_s} does not suffice for a step: a validation with its files takes "
            f"{trainer.clock.closing_s:.1f} s; raise budget_s or lower val_rows"
        )


def mean_val_loss(trainer: Trainer) -> float:
    """Validation loss, nats per token, of the weights, or of their average where one is kept."""
    network, data, n_rows, device = trainer.network, trainer.val_data, trainer.config.val_rows, trainer.device
    with trainer.average.in_model():
        return trainer.micro_batch.within_memory(lambda size: validation_loss(network, data, n_rows, size, device))


def validate(trainer: Trainer) -> None:
    """Add a row to the history, and save the weights if they are the best so far.

    A loss that is not finite rolls the run back; it is the earlier weights that are then validated.
    """
    progress, plan = trainer.progress, trainer.plan
    while not math.isfinite(val_loss := mean_val_loss(trainer)):
        roll_back(trainer, f"validation loss {val_loss}")
    row = progress.add_validation(val_loss, plan.steps_per_epoch)
    trainer.files.save_curve(progress.history)
    if progress.best_step == progress.step:
        with trainer.average.in_model():
            trainer.files.save_best(progress.step, trainer.trained)
    logger.info(
        "step %d%s, epoch %.2f: train loss %s, val loss %.4f, val ppl %.2f, lr %.2e",
        *(row["step"], f" of {plan.steps}" if plan.steps else "", row["epoch"]),
        *("-" if row["train_loss"] is None else f"{row['train_loss']:.4f}", val_loss, row["val_ppl"], row["lr"]),
    )


def finish(trainer: Trainer) -> None:
    """Save and validate the last step; leave the final weights in the model, averaged if an average is kept.

    A last validation that was not due is not in the state: a longer run of the same trajectory goes on without it.
    """
    progress = trainer.progress
    if trainer.files.saved_step != progress.step:
        save_state(trainer)
    if progress.history[-1]["step"] != progress.step:
        validate(trainer)
    trainer.files.name_best(progress.best_step)
    trainer.average.swap()


def take_step(trainer: Trainer) -> None:
    """Update the weights by the next batch, unless it has no supervised token or its numbers are not finite."""
    progress = trainer.progress
    losses = batch_gradients(trainer, trainer.next_rows)
    for optimizer in trainer.optimizers:
        trainer.scaler.unscale_(optimizer)
    norm = clip_gradients(trainer.trained.values(), trainer.config.max_norm)
    progress.lr = trainer.next_lr
    progress.step += 1
    if losses.n_tokens == 0:
        pass_over(trainer)
    elif is_finite(losses, norm):
        optimizer_step(trainer.optimizers, progress.lr)
        trainer.average.update(progress.step)
        progress.add_step(losses)
    elif is_overflow(trainer, losses):
        lower_scale(trainer)
    else:
        skip_step(trainer, losses, norm)
    trainer.scaler.update()


def training_steps(trainer: Trainer) -> Iterator[None]:
    """Train to the end; pause before the first step and behind each, so that the caller sees the run go on.

    A run whose state was saved goes on from there. SIGINT and SIGTERM save the state and raise KeyboardInterrupt.
    """
    config, plan, clock, files = trainer.config, trainer.plan, trainer.clock, trainer.files
    draw_apart(trainer.seed)
    with signals_wait() as signals:
        if not resume(trainer):
            begin(trainer)
        progress = trainer.progress
        yield
        while not trainer.ended:
            with clock.step():
                take_step(trainer)
            stopping = totals(len(signals)) != [0.0]  # a signal to any process stops all
            with clock.closing():
                if validated := progress.step % plan.eval_every == 0:
                    validate(trainer)
                if progress.step % plan.checkpoint_every == 0:
                    files.save_checkpoint(progress.step, trainer.trained, trainer.optimizers, config.keep)
                late = of_first(clock.seconds - progress.seconds >= config.state_every_s)
                if validated or late or stopping:
                    save_state(trainer)
            yield
            if stopping:
                raise KeyboardInterrupt(
                    f"stopped at step {progress.step}: run the same command again to go on from here"
                )
    finish(trainer)


def fit(
    model: Any,  # a LanguageModel
    train_data: Packed,
    val_data: Packed,
    config: TrainConfig,
    seed: int,
    device: torch.device,
    state: State,
    curve: Path | None = None,
) -> Progress:
    """What the run reached; the model holds the final weights.

    Goes on from the last state in `state`, where there is one. The best weights (by validation loss) are in
    `best.safetensors` of its folder, periodic ones in `checkpoints`. The csv `curve` grows with every validation.
    """
    tune_cpu()
    told = (name_of(products_type(device)), device.type, "tf32" if allow_tf32(device) else "fp32")
    logger.info("products in %s on %s, those of fp32 numbers in %s", *told)
    trainer = Trainer(model, train_data, val_data, config, seed, device, state, curve)
    steps = training_steps(trainer)
    next(steps)  # resumed or begun
    first, last = trainer.progress.step, trainer.plan.steps
    with tqdm(total=last, initial=first, unit="step", desc="train", mininterval=1.0, disable=not is_first()) as bar:
        for _ in steps:
            bar.update()
            bar.set_postfix(val_loss=trainer.progress.history[-1]["val_loss"], refresh=False)
    return trainer.progress
