"""The batches of a run, made while the step before computes where that is done by a GPU."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from llm.tokens.epochs import Epochs
from llm.tokens.packing import Batch

Key = tuple[tuple[int, ...], int]


def pinned(batch: Batch) -> Batch:
    """The batch in memory from which a GPU copies while the program goes on."""
    return Batch(*(t.pin_memory() for t in (batch.ids, batch.targets, batch.positions, batch.documents)))


class Batches:
    """The micro-batches of each step. On CUDA a thread makes the next ones; on a CPU it would only take their time."""

    def __init__(self, data: Epochs, device: torch.device) -> None:
        self.data = data
        self.thread = ThreadPoolExecutor(1, "batches") if device.type == "cuda" else None
        self.next: tuple[Key, Future[list[Batch]]] | None = None

    def take(self, rows: Sequence[int], size: int) -> list[Batch]:
        """The rows, `size` of them at a time. What making them raised, in the thread too, is raised here."""
        if self.next is not None and self.next[0] == (tuple(rows), size):
            return self.next[1].result()
        return self._make(rows, size)

    def prepare(self, rows: Sequence[int], size: int) -> None:
        """Begin to make the micro-batches that `take` will be asked for."""
        if self.thread is not None:
            self.next = (tuple(rows), size), self.thread.submit(self._make, rows, size)

    def _make(self, rows: Sequence[int], size: int) -> list[Batch]:
        batches = [self.data.batch(rows[i : i + size]) for i in range(0, len(rows), size)]
        return batches if self.thread is None else [pinned(batch) for batch in batches]
