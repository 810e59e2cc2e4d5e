"""The rows of a run, epoch after epoch: in each the dialogues are shuffled and packed anew."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import groupby
from threading import Lock

import numpy as np
import torch

from llm.tokens.mixture import Ints
from llm.tokens.packing import Batch, Packed

KEPT = 2  # epochs in memory: a batch may reach into the next one; to pack one takes 4 us a dialogue


class Epochs:
    """The rows of all epochs, numbered through: which a run reads is a function of its seed and of nothing else."""

    def __init__(self, first: Packed, seed: int) -> None:
        """`first` is the first epoch."""
        self.first, self._seed = first, seed
        self._starts = [0, len(first)]  # rows before each epoch
        self._kept: dict[int, tuple[Packed, Ints]] = {}
        self._packing = Lock()  # the next batch may be made on a thread of its own

    def _epoch(self, epoch: int) -> tuple[Packed, Ints]:
        """The rows of an epoch as they were filled, and the order in which they are read."""
        with self._packing:
            if epoch not in self._kept:
                for old in list(self._kept)[: 1 - KEPT]:
                    del self._kept[old]
                packed = self.first.anew((self._seed, epoch)) if epoch else self.first
                self._kept[epoch] = packed, np.random.default_rng((self._seed, epoch)).permutation(len(packed))
            return self._kept[epoch]

    def n_rows(self, epochs: int) -> int:
        """Rows of the first so many epochs: one has a few more than another."""
        while len(self._starts) <= epochs:
            self._starts.append(self._starts[-1] + len(self._epoch(len(self._starts) - 1)[0]))
        return self._starts[epochs]

    def place(self, number: int) -> tuple[int, int]:
        """Epoch, and row in it, of the row that is read after `number` others."""
        while self._starts[-1] <= number:
            self.n_rows(len(self._starts))
        epoch = bisect_right(self._starts, number) - 1
        return epoch, int(self._epoch(epoch)[1][number - self._starts[epoch]])

    def batch(self, numbers: Sequence[int]) -> Batch:
        """The rows that are read after so many others each."""
        runs = groupby(map(self.place, numbers), lambda place: place[0])
        batches = [self._epoch(epoch)[0].batch([row for _, row in run]) for epoch, run in runs]
        tensors = zip(*((b.ids, b.targets, b.positions, b.documents) for b in batches), strict=True)
        return Batch(*map(torch.cat, tensors))
