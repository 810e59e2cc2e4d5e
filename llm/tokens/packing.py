"""Token files and packing: dialogues laid end to end into full rows, none seeing another."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llm.files import write_bytes

if TYPE_CHECKING:
    from torch import Tensor

Ints = NDArray[np.int64]

PADDING = -1  # document number of padding
LOOK_AHEAD = 256  # dialogues among which one is sought that fits into the rest of a row
REPEATED = 8  # a row repeats an eighth of itself at most: the turn that its cut dialogue was in the middle of


@dataclass(frozen=True)
class TokenCorpus:
    """Dialogues as one flat array of token ids."""

    ids: NDArray[np.uint16] | NDArray[np.uint32]  # (N,)
    offsets: Ints  # (D + 1,) where each dialogue starts, and N
    turns: Ints  # (M,) where each turn starts, ascending; every dialogue's start is one
    supervised: NDArray[np.bool_] | None  # (N,) whether a token is to be learned; None: all are


@dataclass(frozen=True)
class Rows:
    """Where each row's segments come from: segment i feeds ids[start[i]:stop[i]] at column[i] of row[i]."""

    n_rows: int
    row: Ints
    column: Ints
    start: Ints
    stop: Ints
    repeated: Ints  # leading inputs shown again, whose targets were learned in the row before


@dataclass(frozen=True)
class Batch:
    """Packed rows, int64 (B, T) each."""

    ids: "Tensor"
    targets: "Tensor"  # the next token; -1 where nothing is learned
    positions: "Tensor"  # 0, 1, 2, ... in each segment
    documents: "Tensor"  # number of the segment in its row; padding has its own


def write_corpus(folder: Path, split: str, corpus: TokenCorpus) -> None:
    """Write the arrays as `<split>.<name>.npy`; each file appears whole or not at all."""
    for name in ("ids", "offsets", "turns", "supervised"):
        path, array = folder / f"{split}.{name}.npy", getattr(corpus, name)
        if array is None:
            path.unlink(missing_ok=True)
            continue
        content = BytesIO()
        np.save(content, array)
        write_bytes(path, content.getvalue())


def open_corpus(folder: Path, split: str) -> TokenCorpus:
    """The corpus written by `write_corpus`, memory-mapped."""

    def read(name: str) -> NDArray[np.int64]:
        return np.load(folder / f"{split}.{name}.npy", mmap_mode="r")

    supervised = read("supervised") if (folder / f"{split}.supervised.npy").exists() else None
    return TokenCorpus(read("ids"), read("offsets"), read("turns"), supervised)  # type: ignore[arg-type]


def _repeat_from(turns: Ints, cut: int, limit: int) -> int:
    """Where the row after a cut starts: at the turn in progress, at most `limit` tokens back."""
    turn = int(turns[np.searchsorted(turns, cut, side="left") - 1])  # the last turn that starts before the cut
    return max(turn, cut - limit)


def take(waiting: list[int], lengths: Ints, room: int) -> int:
    """The next dialogue, off the end of `waiting`; if it does not fit, the longest of the next LOOK_AHEAD that does.

    Short dialogues then fill a row almost to its end, and little has to be cut and repeated.
    """
    window = np.array(waiting[: -LOOK_AHEAD - 1 : -1])
    fits = np.where(lengths[window] <= room, lengths[window], 0)
    return waiting.pop(-1 - (0 if fits[0] else int(fits.argmax())))


def pack(corpus: TokenCorpus, context_length: int, seed: int) -> Rows:
    """Rows of `context_length` inputs filled by the dialogues in shuffled order; only the last row has padding.

    A dialogue of n tokens takes n - 1 inputs: its last token is only a target. One that meets the end of a row goes on
    in the next, which first repeats the turn in progress (at most an eighth of the row) as context that is not
    learned again. Every token but a dialogue's first is a target exactly once.
    """
    offsets, turns = np.asarray(corpus.offsets), np.asarray(corpus.turns)
    segments: list[tuple[int, int, int, int, int]] = []
    row, column = 0, 0
    lengths = np.diff(offsets) - 1
    waiting = np.random.default_rng(seed).permutation(len(lengths)).tolist()
    while waiting:
        dialogue = take(waiting, lengths, context_length - column)
        start, last, repeated = int(offsets[dialogue]), int(offsets[dialogue + 1]) - 1, 0
        while start + repeated < last:
            if column == context_length:
                row, column = row + 1, 0
            stop = min(last, start + context_length - column)
            segments.append((row, column, start, stop, repeated))
            column += stop - start
            start = _repeat_from(turns, stop, context_length // REPEATED) if stop < last else stop
            repeated = stop - start
    table = np.array(segments, dtype=np.int64).reshape(-1, 5).T
    return Rows(row + 1 if segments else 0, *table)


@dataclass(frozen=True)
class Packed:
    """A corpus in rows, ready to be fed."""

    corpus: TokenCorpus
    rows: Rows
    context_length: int

    def __len__(self) -> int:
        return self.rows.n_rows

    def batch(self, row_numbers: Sequence[int]) -> Batch:
        """The named rows, in that order."""
        import torch  # takes 1 s, and the stage that only packs needs none

        shape = (len(row_numbers), self.context_length)
        ids, targets = np.zeros(shape, np.int64), np.full(shape, -1, np.int64)
        positions, documents = np.zeros(shape, np.int64), np.full(shape, PADDING, np.int64)
        rows, corpus = self.rows, self.corpus
        for i, number in enumerate(row_numbers):
            first, last = np.searchsorted(rows.row, [number, number + 1])
            for document, s in enumerate(range(first, last)):
                start, stop, repeated = rows.start[s], rows.stop[s], rows.repeated[s]
                new = slice(start + 1 + repeated, stop + 1)
                goal = corpus.ids[new].astype(np.int64)
                if corpus.supervised is not None:
                    goal[~corpus.supervised[new]] = -1
                place = slice(rows.column[s], rows.column[s] + stop - start)
                ids[i, place] = corpus.ids[start:stop]
                targets[i, place][repeated:] = goal
                positions[i, place] = np.arange(stop - start)
                documents[i, place] = document
        return Batch(*(torch.from_numpy(array) for array in (ids, targets, positions, documents)))


def pack_corpus(corpus: TokenCorpus, context_length: int, seed: int) -> Packed:
    """The corpus packed into rows of `context_length` tokens."""
    return Packed(corpus, pack(corpus, context_length, seed), context_length)


def pack_efficiency(packed: Packed) -> float:
    """Share of input positions that predict a token not predicted elsewhere."""
    rows = packed.rows
    new = (rows.stop - rows.start - rows.repeated).sum()
    return float(new) / max(1, len(packed) * packed.context_length)


@functools.lru_cache(maxsize=2)  # a batch may reach into the next epoch; for a million rows one takes 70 ms and 8 MB
def _epoch_order(n_rows: int, seed: int, epoch: int) -> Ints:
    """Row numbers in the order of that epoch."""
    return np.random.default_rng((seed, epoch)).permutation(n_rows)


def batch_rows(n_rows: int, batch_size: int, seed: int, step: int) -> list[int]:
    """Row numbers of the batch at 0-based `step`: each epoch a new permutation, batches run across their borders.

    >>> sorted(batch_rows(4, 2, seed=1, step=0) + batch_rows(4, 2, seed=1, step=1))
    [0, 1, 2, 3]
    """
    numbers: list[int] = []
    position = step * batch_size
    while len(numbers) < batch_size:
        epoch, offset = divmod(position, n_rows)
        taken = _epoch_order(n_rows, seed, epoch)[offset : offset + batch_size - len(numbers)]
        numbers += taken.tolist()
        position += len(taken)
    return numbers
