"""The files of one run: its saved states, its best weights, its periodic checkpoints."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from llm.files import copy_file, file_sha256
from llm.training.checkpoint import State, save_tensors, step_of
from llm.training.distributed import is_first, wait_for_all, whole
from llm.training.history import write_curve
from llm.training.optim import optimizer_tensors
from llm.training.progress import Progress

logger = logging.getLogger(__name__)


def save_whole(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write the tensors by the first process, to which the others give their parts."""
    tensors = whole(tensors)
    if is_first():
        save_tensors(path, tensors)


class TrainingFiles:
    """The folder of a run's state, and which of its files are still needed.

    state_N.*                    what a run is resumed from, the last two and what they need (checkpoint.py)
    best_N.safetensors           best weights, as far as a kept state names them
    best.safetensors             best weights of the finished run
    checkpoints/step_N.*         weights and optimizer states, the last `keep` of them

    The curve of the run stands outside it, where `dvc plots` reads it.
    """

    def __init__(self, state: State, curve: Path | None = None) -> None:
        self.state, self.curve = state, curve
        self.saved_step: int | None = None  # of the newest state
        self.saved_best: list[int] = []  # best steps of the last two states
        self._hashes: dict[str, str] = {}  # of best weights and checkpoints, each hashed once
        self.checkpoints = state.folder / "checkpoints"
        self.checkpoints.mkdir(parents=True, exist_ok=True)

    def _best(self, step: int) -> Path:
        """Where the best weights stand when they are those of this step."""
        return self.state.folder / f"best_{step:08d}.safetensors"

    def save_best(self, step: int, weights: Mapping[str, Tensor]) -> None:
        """Write the best weights so far."""
        save_whole(self._best(step), weights)

    def _hash_files(self, progress: Progress) -> dict[str, str]:
        """Hashes of the best weights so far and of the checkpoints, by name; none of what a killed run left ahead."""
        paths = [path for path in sorted(self.checkpoints.glob("step_*")) if step_of(path) <= progress.step]
        names = {
            path.relative_to(self.state.folder).as_posix(): path for path in [*paths, self._best(progress.best_step)]
        }
        self._hashes = {name: self._hashes.get(name) or file_sha256(path) for name, path in names.items()}
        return self._hashes

    def save_curve(self, history: Sequence[dict[str, float | None]]) -> None:
        """Write the curve as far as it goes, where someone follows it."""
        if self.curve and is_first():
            write_curve(self.curve, history)

    def name_best(self, step: int) -> None:
        """Give the best weights of a finished run their lasting name."""
        if is_first():
            copy_file(self._best(step), self.state.folder / "best.safetensors")
        wait_for_all()

    def save_checkpoint(
        self, step: int, weights: Mapping[str, Tensor], optimizers: Sequence[torch.optim.Optimizer], keep: int
    ) -> None:
        """Write weights and optimizer states of a step; delete all but the last `keep` checkpoints."""
        save_whole(self.checkpoints / f"step_{step:08d}.safetensors", weights)
        save_whole(self.checkpoints / f"step_{step:08d}.optim", optimizer_tensors(optimizers))
        for old in sorted(self.checkpoints.glob("step_*"))[: -2 * keep or None] if is_first() else []:
            old.unlink()

    def drop_beyond(self, last: int) -> None:
        """Delete what a longer run of the same trajectory left behind the step `last`: it is not this run's."""
        if is_first():
            dropped = self.state.drop_beyond(last)
            self.state.forget_replaced()
            for path in [*self.state.folder.glob("best_*"), *self.checkpoints.glob("step_*")]:
                if step_of(path) > last:
                    path.unlink()
            if dropped is not None:
                logger.warning("a longer run's states, up to step %d, are deleted: this one ends at %d", dropped, last)
        wait_for_all()

    def save_state(self, tensors: Mapping[str, Tensor], progress: Progress) -> None:
        """Write what the run is resumed from; delete the best weights that neither of the last two states names."""
        files = self._hash_files(progress) if is_first() else {}
        self.state.save(progress.step, tensors, vars(progress), progress.good_step, files)
        self.saved_step = progress.step
        self.saved_best = [*self.saved_best[-1:], progress.best_step]
        for path in self.state.folder.glob("best_*") if is_first() else []:
            if len(self.saved_best) == 2 and path < self._best(self.saved_best[0]):
                path.unlink()
