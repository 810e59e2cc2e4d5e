"""One training run in progress: what it does at a step, a validation, a checkpoint, a saved state."""

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from llm.files import copy_file
from llm.tokens.packing import Packed, batch_rows
from llm.training.average import Average
from llm.training.checkpoint import State, load_optimizers, optimizer_tensors, save_tensors
from llm.training.clock import Clock
from llm.training.compilation import compile_model
from llm.training.distributed import (
    draw_apart,
    is_first,
    is_shard,
    of_first,
    own_rows,
    placed_like,
    random_states,
    replicate,
    restore_random_states,
    same_everywhere,
    wait_for_all,
    whole,
)
from llm.training.micro_batch import MicroBatch
from llm.training.progress import Progress
from llm.training.schedule import TIMED_HORIZON, TrainConfig, lr_factor, make_plan
from llm.training.step import Losses, add_gradients, make_optimizers, move, validation_loss

MAX_SKIPPED = 5  # steps in a row whose loss or gradient is not finite, before the run goes back
MAX_ROLLBACKS = 3  # of a run; then its numbers are wrong, not the luck of a few batches
LR_CUT = 0.5  # of each rollback
ADVICE = "lower lr or max_norm, raise warmup, or look at the data"

logger = logging.getLogger(__name__)


def _save_whole(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Nothing; the first process writes the tensors, to which the others give their parts."""
    tensors = whole(tensors)
    if is_first():
        save_tensors(path, tensors)


class Training:
    """One run in progress: model, optimizers and what they have reached."""

    def __init__(
        self, model: Any, train: Packed, val: Packed, config: TrainConfig, seed: int, device: torch.device, state: State
    ) -> None:
        self.clock = Clock(config.budget_s)
        self.model, self.train, self.val = model.to(device).train(), train, val
        self.config, self.seed, self.device, self.state = config, seed, device, state
        self.network = replicate(self.model)
        self.plan = make_plan(len(train), config)
        self.optimizers = make_optimizers(model, config)
        self.trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.average = Average(self.trained, config.ema)
        self.micro_batch = MicroBatch(config.micro_batch, config.batch_size, list(self.trained.values()), device)
        self.progress = Progress()
        self.saved_step = -1
        self.saved_best: list[int] = []  # best steps of the last two states
        draw_apart(seed)

    def begin(self) -> None:
        """Nothing; the micro-batch is found, the model compiled and validated and the state of step 0 saved."""
        self.micro_batch.find(lambda: self._add_gradients([0], 1))
        self._compile()
        self.progress.lr = self._rate()
        with self.clock.closing():
            self.validate()
            self.save_state()
        if of_first(self.clock.limit_s) <= 0:
            raise ValueError(
                f"budget_s {self.config.budget_s} does not suffice for a step: a validation with its files takes "
                f"{self.clock.closing_s:.1f} s; raise budget_s or lower val_rows"
            )

    def _compile(self) -> None:
        """Nothing; the model runs compiled where that is wanted and works, and the state says so."""

        def compiled(size: int) -> bool:
            batch = self.train.batch(self._rows()[:size])
            return compile_model(self.model, self.config.compile, batch, self.device)

        self.progress.compiled = self.micro_batch.within_memory(compiled)

    def _rows(self) -> Sequence[int]:
        """This process's rows of the next step."""
        return own_rows(batch_rows(len(self.train), self.config.batch_size, self.seed, self.progress.step))

    @property
    def ended(self) -> bool:
        """Whether the run takes no further step."""
        if self.plan.steps is None:
            return self.progress.step > 0 and self.clock.over
        return self.progress.step >= self.plan.steps

    def step(self) -> None:
        """Nothing; one optimizer step over `batch_size` rows, the loss averaged over all its supervised tokens.

        Weights and optimizers stay as they are where the loss or the gradient is not finite.
        """
        config, progress, rows = self.config, self.progress, self._rows()
        with self.clock.step():
            losses = self.micro_batch.within_memory(lambda size: self._add_gradients(rows, size))
            norm = nn.utils.clip_grad_norm_(self.trained.values(), config.max_norm)
            sums = [float(loss) for loss in losses.sums]
            norm_value = float(norm.full_tensor() if is_shard(norm) else norm)  # type: ignore[attr-defined]
            progress.lr = self._rate()
            progress.step += 1
            if not math.isfinite(sum(sums) + norm_value):
                self._skip(f"loss {sum(sums) / losses.n_tokens:.4g}, gradient norm {norm_value:.4g}")
                return
            move(self.optimizers, progress.lr)
            self.average.update(progress.step)
        progress.skipped_in_a_row = 0
        progress.tokens += losses.n_tokens
        for loss in sums:
            progress.loss_sum += loss
        progress.loss_tokens += losses.n_tokens

    def _add_gradients(self, rows: Sequence[int], size: int) -> Losses:
        batches = [self.train.batch(rows[i : i + size]) for i in range(0, len(rows), size)]
        return add_gradients(self.network, batches, self.device)

    def _rate(self) -> float:
        """Learning rate of the next step."""
        place = self.progress.step
        if self.plan.steps is None:
            place = math.ceil(self.clock.share * TIMED_HORIZON) - 1
        return self.config.lr * lr_factor(place, self.plan.horizon, self.config) * self.progress.lr_scale

    def _skip(self, why: str) -> None:
        progress = self.progress
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        progress.skipped_steps += 1
        progress.skipped_in_a_row += 1
        logger.warning("step %d is skipped, %d in a row: %s", progress.step, progress.skipped_in_a_row, why)
        if progress.skipped_in_a_row == MAX_SKIPPED:
            self._roll_back(why)

    def _roll_back(self, why: str) -> None:
        """Nothing; weights and optimizers are those of the last good validation, at a lower rate; the data go on.

        So Chowdhery et al. 2022 (PaLM, section 5.1) met loss spikes: other batches from earlier weights.

        Raises ValueError when there is nothing to go back to, or going back has not helped.
        """
        progress = self.progress
        if not progress.history:
            raise ValueError(f"the model gives no finite loss before its first step ({why}): {ADVICE}")
        if progress.rollbacks == MAX_ROLLBACKS:
            raise ValueError(
                f"no finite loss at step {progress.step} after {MAX_ROLLBACKS} rollbacks ({why}): {ADVICE}"
            )
        self._take(self.state.load_step(progress.good_step))
        progress.rollbacks += 1
        progress.lr_scale *= LR_CUT
        progress.skipped_in_a_row = 0
        told = (progress.step, progress.good_step, progress.lr_scale, why)
        logger.warning("step %d: back to the weights of step %d, lr times %g from now on: %s", *told)

    def _validation_loss(self) -> float:
        """Nats per token of the weights, or of their average where one is kept."""
        with self.average.in_model():
            return self.micro_batch.within_memory(
                lambda size: validation_loss(self.network, self.val, self.config.val_rows, size, self.device)
            )

    def validate(self) -> None:
        """Nothing; a row is added to the history and the best weights are kept."""
        progress = self.progress
        while not math.isfinite(val_loss := self._validation_loss()):
            self._roll_back(f"validation loss {val_loss}")
        row = {
            "step": progress.step,
            "epoch": round(progress.step / self.plan.steps_per_epoch, 4),
            "tokens": progress.tokens,
            "lr": round(progress.lr, 8),
            "train_loss": round(progress.loss_sum / progress.loss_tokens, 4) if progress.loss_tokens else None,
            "val_loss": round(val_loss, 4),
            "val_ppl": round(math.exp(min(val_loss, 50.0)), 4),
        }
        progress.history.append(row)
        progress.loss_sum, progress.loss_tokens = 0.0, 0
        progress.good_step = progress.step
        if val_loss < progress.best_loss:
            progress.best_loss, progress.best_step = val_loss, progress.step
            with self.average.in_model():
                _save_whole(self._best(progress.step), self.trained)
        logger.info(
            "step %d%s, epoch %.2f: train loss %s, val loss %.4f, val ppl %.2f, lr %.2e",
            *(row["step"], f" of {self.plan.steps}" if self.plan.steps else "", row["epoch"]),
            *("-" if row["train_loss"] is None else f"{row['train_loss']:.4f}", val_loss, row["val_ppl"], row["lr"]),
        )

    def _best(self, step: int) -> Path:
        return self.state.folder / f"best_{step:08d}.safetensors"

    def finish(self) -> None:
        """Nothing; the last step is saved and validated; the model holds the final weights, averaged if they are.

        A last validation that was not due is not in the state: a longer run of the same trajectory goes on without it.
        """
        if self.saved_step != self.progress.step:
            self.save_state()
        if self.progress.history[-1]["step"] != self.progress.step:
            self.validate()
        if is_first():
            copy_file(self._best(self.progress.best_step), self.state.folder / "best.safetensors")
        wait_for_all()
        self.average.swap()

    def close_step(self, stopping: bool) -> None:
        """Nothing; the validation, the checkpoint and the saved state that are due after a step are done."""
        step, plan = self.progress.step, self.plan
        with self.clock.closing():
            if validated := step % plan.eval_every == 0:
                self.validate()
            if step % plan.checkpoint_every == 0:
                self.save_checkpoint()
            late = of_first(self.clock.seconds - self.progress.seconds >= self.config.state_every_s)
            if validated or late or stopping:
                self.save_state()

    def save_checkpoint(self) -> None:
        """Nothing; weights and optimizer state of this step stand in the folder `checkpoints`, `keep` of them."""
        folder = self.state.folder / "checkpoints"
        name = f"step_{self.progress.step:08d}"
        _save_whole(folder / f"{name}.safetensors", self.trained)
        _save_whole(folder / f"{name}.optim", optimizer_tensors(self.optimizers))
        for old in sorted(folder.glob("step_*"))[: -2 * self.config.keep or None] if is_first() else []:
            old.unlink()

    def save_state(self) -> None:
        """Nothing; everything needed to go on from here bit for bit is on disk."""
        progress, clock = self.progress, self.clock
        progress.seconds, progress.step_s, progress.closing_s = clock.seconds, clock.step_s, clock.closing_s
        progress.micro_batch = self.micro_batch.rows
        tensors = {f"model.{name}": p for name, p in self.trained.items()} | optimizer_tensors(self.optimizers)
        tensors |= {f"average.{name}": mean for name, mean in self.average.mean.items()} | random_states(self.device)
        self.state.save(progress.step, tensors, vars(progress), needs=progress.good_step)
        self.saved_step = progress.step
        self.saved_best = [*self.saved_best[-1:], progress.best_step]
        for path in self.state.folder.glob("best_*") if is_first() else []:
            if len(self.saved_best) == 2 and path < self._best(self.saved_best[0]):  # of the two states that are kept
                path.unlink()

    def _take(self, tensors: Mapping[str, Tensor]) -> None:
        """Nothing; weights, their average and the optimizers are those saved."""
        with torch.no_grad():
            for name, p in self.trained.items():
                p.copy_(placed_like(tensors[f"model.{name}"], p))
            for name, mean in self.average.mean.items():
                mean.copy_(placed_like(tensors[f"average.{name}"], mean))
        load_optimizers(self.optimizers, tensors)

    def resume(self) -> bool:
        """Whether a saved state was found and taken up."""
        found = self.state.load()
        if not same_everywhere(found[1]["step"] if found else -1):
            raise ValueError(
                f"the processes find different states in {self.state.folder}: it must be one shared folder"
            )
        if found is None:
            return False
        tensors, values = found
        self._take(tensors)
        restore_random_states(tensors, self.device)
        self.progress = Progress(**values)
        self.clock.go_on(self.progress.seconds, self.progress.step_s, self.progress.closing_s)
        self.micro_batch.rows = self.progress.micro_batch
        self.saved_step = self.progress.step
        if self.progress.compiled and not self.ended:
            self._compile()
        return True
