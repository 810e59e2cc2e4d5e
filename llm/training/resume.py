"""A run saved such that it can be resumed bit for bit, and resumed."""

import logging
from collections.abc import Mapping
from dataclasses import asdict

import torch
from torch import Tensor

from llm.models.kernel_choice import Kernels, kernels_in_use, name_kernels, use_kernels
from llm.training.distributed import placed_like, random_states, restore_random_states, same_everywhere
from llm.training.optim import load_optimizers, optimizer_tensors
from llm.training.progress import Progress
from llm.training.trainer import Trainer

logger = logging.getLogger(__name__)


def save_state(trainer: Trainer) -> None:
    """Save everything that is needed to go on from here bit for bit."""
    progress, clock = trainer.progress, trainer.clock
    progress.seconds, progress.step_s, progress.closing_s = clock.seconds, clock.step_s, clock.closing_s
    progress.micro_batch, progress.scaler = trainer.micro_batch.rows, trainer.scaler.state_dict()
    progress.kernels, progress.threads = asdict(kernels_in_use()), torch.get_num_threads()
    tensors = {f"model.{name}": p for name, p in trainer.trained.items()}
    tensors |= {f"average.{name}": mean for name, mean in trainer.average.mean.items()}
    tensors |= optimizer_tensors(trainer.optimizers) | random_states(trainer.device)
    trainer.files.save_state(tensors, progress)


def load_weights(trainer: Trainer, tensors: Mapping[str, Tensor]) -> None:
    """Set weights, their average and the optimizers to those of a saved state."""
    with torch.no_grad():
        for name, p in trainer.trained.items():
            p.copy_(placed_like(tensors[f"model.{name}"], p))
        for name, mean in trainer.average.mean.items():
            mean.copy_(placed_like(tensors[f"average.{name}"], mean))
    load_optimizers(trainer.optimizers, tensors)


def compute_as(progress: Progress) -> None:
    """Use the kernels and the number of threads that the saved state was computed with, whatever would be chosen now.

    Other ones round in another order, so that the run would end with other weights.
    """
    kernels = Kernels(**progress.kernels)
    if kernels == kernels_in_use() and progress.threads == torch.get_num_threads():
        return
    told = (name_kernels(kernels), progress.threads, name_kernels(kernels_in_use()), torch.get_num_threads())
    logger.info("going on with the kernels and threads of the saved state (%s; %d) instead of (%s; %d)", *told)
    use_kernels(kernels)
    torch.set_num_threads(progress.threads)


def resume(trainer: Trainer) -> bool:
    """Whether a saved state was found; the run then stands where it stood when that was saved.

    A longer run's states behind this run's end are not taken: its weights are not those that this one ends with.
    Raises ValueError when the processes do not find the same state.
    """
    state = trainer.files.state
    if trainer.plan.steps is not None:
        trainer.files.drop_beyond(trainer.plan.steps)
    found = state.load()
    if not same_everywhere(found[1]["step"] if found else -1):
        raise ValueError(f"the processes find different states in {state.folder}: it must be one shared folder")
    if found is None:
        return False
    tensors, values = found
    load_weights(trainer, tensors)
    restore_random_states(tensors, trainer.device)
    trainer.progress = progress = Progress(**values)
    compute_as(progress)
    trainer.clock.resume(progress.seconds, progress.step_s, progress.closing_s)
    trainer.micro_batch.rows = progress.micro_batch
    trainer.scaler.load_state_dict(progress.scaler)
    trainer.files.saved_step = progress.step
    trainer.files.save_curve(progress.history)  # DVC has deleted it, or it holds rows from behind this state
    if progress.compiled and not trainer.ended:
        trainer.compile_model()
    logger.info("going on from step %d (%s)", progress.step, state.folder)
    return True
