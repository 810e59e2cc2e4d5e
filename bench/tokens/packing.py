"""Useful tokens a second of our training step: rows packed, padded to the context, and bucketed by length."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.ours import start_training, train_config
from bench.rounds import Contender, Lap, alternate, check_equal
from bench.shapes import SEED, SMALL, Shape, fresh_gpt
from bench.table import Section, summarise
from bench.tokens.exchanges import read_exchanges
from llm.inference.likelihood import group_by_length
from llm.tokens.packing import PADDING, Batch, TokenCorpus, open_corpus, pack_corpus, write_corpus
from llm.training.step import validation_loss

N_EXCHANGES = 20_000
STEPS = 2  # a turn
Ints = NDArray[np.int64]


def lay_out(corpus: TokenCorpus, dialogues: Sequence[int], width: int) -> Batch:
    """One dialogue a row, padded on the right to `width` inputs."""
    ids, targets = np.zeros((len(dialogues), width), np.int64), np.full((len(dialogues), width), -1, np.int64)
    documents = np.full((len(dialogues), width), PADDING, np.int64)
    for row, dialogue in enumerate(dialogues):
        tokens = corpus.ids[corpus.offsets[dialogue] : corpus.offsets[dialogue + 1]].astype(np.int64)
        n = len(tokens) - 1
        ids[row, :n], targets[row, :n], documents[row, :n] = tokens[:-1], tokens[1:], 0
    positions = np.broadcast_to(np.arange(width), ids.shape).copy()
    return Batch(*(torch.from_numpy(array) for array in (ids, targets, positions, documents)))


@dataclass(frozen=True)
class Padded:
    """A dialogue a row, each row as wide as the context, as the plainest recipe has it; fed like llm's Packed."""

    corpus: TokenCorpus
    context_length: int

    def __len__(self) -> int:
        return len(self.corpus.offsets) - 1

    def batch(self, row_numbers: Sequence[int]) -> Batch:
        """The named rows."""
        return lay_out(self.corpus, row_numbers, self.context_length)


@dataclass(frozen=True)
class Bucketed:
    """Batches of dialogues of about one length, each as wide as its longest; a whole batch counts as one row."""

    corpus: TokenCorpus
    buckets: list[list[int]]

    def __len__(self) -> int:
        return len(self.buckets)

    def batch(self, row_numbers: Sequence[int]) -> Batch:
        """The one named batch."""
        (number,) = row_numbers
        dialogues = self.buckets[number]
        offsets = self.corpus.offsets
        return lay_out(self.corpus, dialogues, max(int(offsets[d + 1] - offsets[d]) - 1 for d in dialogues))


def make_rows(kind: str, corpus: TokenCorpus, shape: Shape) -> tuple[Any, int]:
    """The corpus laid out in one of three ways, and the rows of a batch of about equal tokens."""
    T = shape.model.context_length
    if kind == "packed":
        return pack_corpus(corpus, T, SEED), shape.batch_size
    if kind == "padded":
        return Padded(corpus, T), shape.batch_size
    return Bucketed(corpus, group_by_length((np.diff(corpus.offsets) - 1).tolist(), shape.batch_size * T)), 1


def one_row(corpus: TokenCorpus, width: int) -> TokenCorpus:
    """The corpus' first dialogues that fit into one row, where none of them is cut."""
    inputs = np.cumsum(np.diff(corpus.offsets) - 1)
    offsets = np.asarray(corpus.offsets)[: int((inputs <= width).sum()) + 1]
    return replace(corpus, ids=corpus.ids[: offsets[-1]], offsets=offsets, turns=offsets[:-1])


def train_on(lap: Lap, kind: str, folder: Path, shape: Shape, steps: int) -> None:
    """Take training steps on the corpus of the folder, laid out in one of three ways."""
    corpus, model = open_corpus(folder, "exchanges"), fresh_gpt(shape)
    few, _ = make_rows(kind, one_row(corpus, shape.model.context_length), shape)
    rows, batch_size = make_rows(kind, corpus, shape)
    loss = validation_loss(model, few, None, 1, torch.device("cpu"))
    with TemporaryDirectory() as state:
        trainer, run = start_training(model, rows, train_config(batch_size), Path(state))
        lap(note=loss)
        while True:
            before = trainer.progress.tokens
            for _ in range(steps):
                next(run)
            lap(trainer.progress.tokens - before)


def shares(corpus: TokenCorpus, shape: Shape) -> dict[str, float]:
    """Share of the inputs that predict something, each way: what the ratios would be if nothing else cost time."""
    found = {}
    for kind in ("packed", "padded", "bucketed"):
        rows, _ = make_rows(kind, corpus, shape)
        sizes = [rows.batch([i]).targets for i in range(len(rows))]
        found[f"useful share, {kind}"] = sum(int((t >= 0).sum()) for t in sizes) / sum(t.numel() for t in sizes)
    return found


def compare(shape: Shape, n_exchanges: int, steps: int, rounds: int) -> Section:
    """Useful tokens a second of the three ways."""
    corpus, origin = read_exchanges(n_exchanges, shape.model.context_length + 1)
    with TemporaryDirectory() as folder:
        write_corpus(Path(folder), "exchanges", corpus)
        contenders = [
            Contender(
                kind,
                train_on,
                {"kind": kind, "folder": Path(folder), "shape": shape, "steps": steps},
                keeps_memory=True,
                multiplies_fast=True,
            )
            for kind in ("packed", "padded", "bucketed")
        ]
        run = alternate(contenders, rounds, lambda ready: check_equal(ready, 1e-4), "packing")
    ratios = {"padded / packed": ("padded", "packed"), "bucketed / packed": ("bucketed", "packed")}
    facts = {"data": origin, "exchanges": len(corpus.offsets) - 1, **shares(corpus, shape)}
    return summarise(run, "tokens/s", ratios, facts)


def measure(rounds: int, full: bool) -> Iterator[tuple[str, Section]]:
    """SMALL, rows of 256 tokens."""
    yield "packing", compare(SMALL, N_EXCHANGES, STEPS, rounds)
