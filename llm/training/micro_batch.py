"""The rows of one forward pass: as many as fit into memory, with the same batch and the same mathematics."""

import logging
import mmap
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from llm.failures import is_out_of_memory
from llm.machine import give_back_memory, stop_padding
from llm.training.distributed import least, n_processes, random_states, restore_random_states
from llm.training.free_memory import NO_LIMIT, fitting_rows, free_memory, largest_divisor, peak_growth

logger = logging.getLogger(__name__)

# Address space kept free until memory runs out under a limit of `ulimit`: the heap does not shrink there, and the code
# that oneDNN makes for another number of rows has to go somewhere. Untouched, it takes no memory.
RESERVE_BYTES = 64 * 1024 * 1024

T = TypeVar("T")


class MicroBatch:
    """How many rows of a batch go through the model at once."""

    def __init__(
        self, configured: int | None, batch_size: int, trained: Sequence[Tensor], device: torch.device
    ) -> None:
        self.configured, self.batch_size, self.trained, self.device = configured, batch_size, trained, device
        self.rows = configured or batch_size
        self.reserve = mmap.mmap(-1, RESERVE_BYTES, mmap.MAP_PRIVATE) if device.type == "cpu" else None

    def find(self, one_row: Callable[[], object]) -> None:
        """Set `rows`, where no number is configured, to the largest divisor of the batch that is expected to fit.

        On a CPU one row's pass is measured, since the kernel kills who takes too much. A GPU raises: there the whole
        batch is tried, and halved when it fails.
        """
        if self.configured is not None or self.device.type != "cpu":
            return
        states, self.rows = random_states(self.device), 1
        self.within_memory(lambda _: one_row())  # threads and gradients are there from now on, and not counted
        row = self.within_memory(lambda _: peak_growth(one_row))
        self._drop_gradients()
        restore_random_states(states, self.device)
        give_back_memory()
        free = free_memory()
        if row is None or free is None:
            logger.info("memory cannot be measured here: a batch goes through the model at once")
            row, free = 0, NO_LIMIT
        fixed = 3 * sum(p.numel() * p.element_size() for p in self.trained)  # gradients, AdamW's two averages
        # Several processes, which may share a machine and its memory, have to agree.
        self.rows = int(least(fitting_rows(self.batch_size, row, fixed, free // n_processes())))
        told = (self.rows, self.batch_size, row / 1e6, free / 1e9)
        logger.info("micro-batch of %d of %d rows: a row takes %.1f MB, %.2f GB are free", *told)

    def within_memory(self, work: Callable[[int], T]) -> T:
        """What `work` gives for `rows`, done again with fewer whenever memory runs out.

        Gradients and random states are then those from before. Raises OSError when the number is a configured one or
        is down to a single row.
        """
        if n_processes() > 1:  # the others would wait for this one inside a collective: here it has to be an error
            return work(self.rows)
        states = random_states(self.device)
        while True:
            try:
                return work(self.rows)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
            self._drop_gradients()  # here the error is gone, and with it the activations that it held on to
            if self.reserve is not None:
                self.reserve.close()
            stop_padding()
            give_back_memory()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            self._take_fewer()
            restore_random_states(states, self.device)

    def _take_fewer(self) -> None:
        """Set `rows` to a smaller divisor of the batch, half at most. Raises OSError where that cannot be."""
        if self.rows == 1:
            raise OSError("out of memory with one row at a time: lower context_length, n_embd or n_layer")
        fewer = largest_divisor(self.batch_size, self.rows // 2)
        if self.configured is not None:
            raise OSError(
                f"out of memory with micro_batch {self.rows}: set it to {fewer}, or to null: then it is found"
            )
        logger.warning("out of memory with a micro-batch of %d rows: going on with %d", self.rows, fewer)
        self.rows = fewer

    def _drop_gradients(self) -> None:
        """Free the gradients of all trained parameters."""
        for p in self.trained:
            p.grad = None
