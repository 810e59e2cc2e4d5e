"""Token files and packing: dialogues laid end to end into full rows, none seeing another."""

from array import array
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from llm.files import write_whole
from llm.tokens.mixture import Floats, Ints, appearances

if TYPE_CHECKING:
    from torch import Tensor

Append = Callable[[NDArray[np.uint16], Ints], None]  # a dialogue's ids, and where in them a turn starts

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


@contextmanager
def _grow_array(path: Path, dtype: DTypeLike) -> Iterator[Callable[[NDArray[Any]], None]]:
    """Hold a function that appends to the array written at `path`, one-dimensional, whole or not at all."""
    n = 0

    def append(part: NDArray[Any]) -> None:
        nonlocal n
        n += len(part)
        file.write(np.ascontiguousarray(part, dtype).data)

    def write_header() -> None:  # of one length for every n: numpy leaves room for all its digits
        description = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": (n,)}
        np.lib.format.write_array_header_1_0(file, description)

    with write_whole(path) as file:
        write_header()
        yield append
        file.seek(0)
        write_header()


@contextmanager
def grow_corpus(folder: Path, split: str) -> Iterator[Append]:
    """Hold a function that appends a dialogue to the token files of the split.

    They are `<split>.<name>.npy`; each appears whole or not at all, and no more than a few pages are in memory.
    """
    n_ids = 0
    (folder / f"{split}.supervised.npy").unlink(missing_ok=True)
    with (
        _grow_array(folder / f"{split}.ids.npy", np.uint16) as add_ids,
        _grow_array(folder / f"{split}.offsets.npy", np.int64) as add_offset,
        _grow_array(folder / f"{split}.turns.npy", np.int64) as add_turns,
    ):

        def append(ids: NDArray[np.uint16], turns: Ints) -> None:
            nonlocal n_ids
            add_ids(ids)
            add_turns(n_ids + turns)
            n_ids += len(ids)
            add_offset(np.array([n_ids]))

        add_offset(np.array([0]))
        yield append


def write_corpus(folder: Path, split: str, corpus: TokenCorpus) -> None:
    """Write the arrays as `<split>.<name>.npy`; each file appears whole or not at all."""
    for name in ("ids", "offsets", "turns", "supervised"):
        path, values = folder / f"{split}.{name}.npy", getattr(corpus, name)
        if values is None:
            path.unlink(missing_ok=True)
            continue
        with _grow_array(path, values.dtype) as append:
            append(values)


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


class Waiting:
    """Dialogues in the order in which they are to be packed, given out one by one."""

    def __init__(self, lengths: Ints, order: Ints) -> None:
        self._lengths, self._order = lengths[order], order
        self._taken = bytearray(len(order))
        self._next = 0  # place in the order of the next dialogue not taken
        self._seen = 0  # places looked at so far
        self._window: list[tuple[int, int]] = []  # length and place of those looked at and not taken, ascending

    def __bool__(self) -> bool:
        return self._next < len(self._order)

    def take(self, room: int) -> int:
        """The next dialogue; if it does not fit, the longest of the next LOOK_AHEAD that does.

        Short dialogues then fill a row almost to its end, and little has to be cut and repeated. The search in a
        sorted window takes 4 us a dialogue however many wait.
        """
        while len(self._window) < LOOK_AHEAD and self._seen < len(self._order):
            insort(self._window, (int(self._lengths[self._seen]), self._seen))
            self._seen += 1
        place = self._next
        if not 0 < self._lengths[place] <= room:
            fitting = bisect_left(self._window, (room + 1, 0))
            if fitting and (length := self._window[fitting - 1][0]):
                place = self._window[bisect_left(self._window, (length, 0))][1]  # of the longest the first
        del self._window[bisect_left(self._window, (int(self._lengths[place]), place))]
        self._taken[place] = True
        while self._next < len(self._order) and self._taken[self._next]:
            self._next += 1
        return int(self._order[place])


def pack(corpus: TokenCorpus, context_length: int, order: Ints) -> Rows:
    """Rows of `context_length` inputs filled by the dialogues about in this order; only the last row has padding.

    A dialogue of n tokens takes n - 1 inputs: its last token is only a target. One that meets the end of a row goes on
    in the next, which first repeats the turn in progress (at most an eighth of the row) as context that is not
    learned again. Every token but a dialogue's first is a target once for each time that the order has the dialogue.
    """
    offsets, turns = np.asarray(corpus.offsets), np.asarray(corpus.turns)
    segments = array("q")  # five numbers each
    row, column = 0, 0
    lengths = np.diff(offsets) - 1
    waiting = Waiting(lengths, order)
    while waiting:
        dialogue = waiting.take(context_length - column)
        start, last, repeated = int(offsets[dialogue]), int(offsets[dialogue + 1]) - 1, 0
        while start + repeated < last:
            if column == context_length:
                row, column = row + 1, 0
            stop = min(last, start + context_length - column)
            segments.extend((row, column, start, stop, repeated))
            column += stop - start
            start = _repeat_from(turns, stop, context_length // REPEATED) if stop < last else stop
            repeated = stop - start
    table = np.frombuffer(segments, np.int64).reshape(-1, 5).T
    return Rows(row + 1 if segments else 0, *np.ascontiguousarray(table))


@dataclass(frozen=True)
class Packed:
    """A corpus in rows, ready to be fed."""

    corpus: TokenCorpus
    rows: Rows
    context_length: int
    times: Floats | None = None  # (D,) how often an epoch reads each dialogue; None: once

    def __len__(self) -> int:
        return self.rows.n_rows

    def anew(self, seed: tuple[int, int]) -> "Packed":
        """The same corpus shuffled and packed by another seed."""
        return pack_corpus(self.corpus, self.context_length, seed, self.times)

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


def pack_corpus(
    corpus: TokenCorpus, context_length: int, seed: int | tuple[int, int], times: Floats | None = None
) -> Packed:
    """The corpus packed into rows of `context_length` tokens, shuffled; each dialogue `times` (D,), None: once.

    The seed of a later epoch is a pair: the run's, and the epoch's number.
    """
    run_seed, epoch = (seed, 0) if isinstance(seed, int) else seed
    n = len(corpus.offsets) - 1
    numbers = np.arange(n) if times is None else appearances(times, run_seed, epoch)
    order = np.random.default_rng(seed).permutation(numbers)[::-1]
    return Packed(corpus, pack(corpus, context_length, order), context_length, times)


def pack_efficiency(packed: Packed) -> float:
    """Share of input positions that predict a token not predicted elsewhere."""
    rows = packed.rows
    new = (rows.stop - rows.start - rows.repeated).sum()
    return float(new) / max(1, len(packed) * packed.context_length)
