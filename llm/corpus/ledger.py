"""What clean remembers of every dialogue read while the dialogues themselves lie on the disk: some 70 bytes of each."""

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from llm.corpus.dedup import Hashes, Ints
from llm.corpus.leaks import LEAK_RULES
from llm.corpus.split import GAP, SPLITS
from llm.dialogue import Dialogue

RULES = ("empty", "long_turn", "repetition", "exact_duplicate", "near_duplicate", GAP, *LEAK_RULES)
OUTCOMES = ("", *SPLITS, *RULES)  # "": undecided
CODE = {name: code for code, name in enumerate(OUTCOMES)}

Codes = NDArray[np.uint8]


@dataclass(frozen=True)
class Ledger:
    """Of N dialogues where each comes from, its size, and the code of its outcome: its split or what dropped it."""

    sources: tuple[str, ...]  # names
    source: NDArray[np.uint16]  # (N,) number of the name
    group: Hashes  # (N,) of source and group
    content: Hashes  # (N, 2) of all turns
    n_turns: Ints  # (N,)
    turn: Hashes  # (M,) of each turn, dialogue by dialogue
    outcome: Codes  # (N,) changed as they are decided

    def select(self, numbers: Ints) -> "Ledger":
        """The dialogues with these ascending numbers."""
        chosen = np.zeros(len(self.outcome), dtype=bool)
        chosen[numbers] = True
        arrays = {name: getattr(self, name)[numbers] for name in ("source", "group", "content", "n_turns", "outcome")}
        return replace(self, turn=self.turn[np.repeat(chosen, self.n_turns)], **arrays)

    def of(self, *outcomes: str) -> Ints:
        """Numbers of the dialogues with one of these outcomes, ascending."""
        return np.flatnonzero(np.isin(self.outcome, codes(outcomes)))

    @property
    def n_exchanges(self) -> Ints:
        """(N,) turns that answer a turn; a document of one turn counts as one."""
        return np.maximum(1, self.n_turns - 1)


def codes(outcomes: Sequence[str]) -> Codes:
    """The code of each outcome."""
    return np.array([CODE[outcome] for outcome in outcomes], np.uint8)


@dataclass
class LedgerWriter:
    """A ledger that grows by one dialogue after the other."""

    sources: tuple[str, ...]
    source: "array[int]" = field(default_factory=lambda: array("H"))
    n_turns: "array[int]" = field(default_factory=lambda: array("q"))
    outcome: bytearray = field(default_factory=bytearray)
    ids: bytearray = field(default_factory=bytearray)  # 16 bytes each
    group: bytearray = field(default_factory=bytearray)  # 8 bytes each
    content: bytearray = field(default_factory=bytearray)  # 16 bytes each
    turn: bytearray = field(default_factory=bytearray)  # 8 bytes each

    def add(self, source: str, dialogue: Dialogue, outcome: str) -> None:
        """Note a dialogue that was read from this source."""
        turns = b"".join(_hash(turn, 8) for turn in dialogue.turns)
        self.source.append(self.sources.index(source))
        self.n_turns.append(len(dialogue.turns))
        self.outcome.append(CODE[outcome])
        self.ids += _hash(dialogue.id, 16)
        self.group += _hash(f"{dialogue.source}/{dialogue.group}", 8)
        self.content += hashlib.blake2b(turns, digest_size=16).digest()
        self.turn += turns

    def close(self) -> tuple[Ledger, int | None]:
        """The ledger, and the number of the first dialogue whose id an earlier one has; None if all ids differ."""
        hashes = np.frombuffer(self.ids, np.uint64).reshape(-1, 2)
        again = np.flatnonzero(first_equal(hashes) != np.arange(len(hashes)))
        ledger = Ledger(
            self.sources,
            np.array(self.source, np.uint16),
            np.frombuffer(self.group, np.uint64),
            np.frombuffer(self.content, np.uint64).reshape(-1, 2),
            np.array(self.n_turns, np.int64),
            np.frombuffer(self.turn, np.uint64),
            np.frombuffer(self.outcome, np.uint8),
        )
        return ledger, int(again[0]) if len(again) else None


def _hash(text: str, size: int) -> bytes:
    """The same in every process (Python's own hash of a string is not).

    Of the 4 million turns of 1.8 million exchanges two different ones share 8 bytes with probability 5e-7.
    """
    return hashlib.blake2b(text.encode(), digest_size=size).digest()


def first_equal(hashes: Hashes) -> Ints:
    """(N,) the number of the first row equal to each of (N, 2) rows, which may be itself.

    >>> first_equal(np.array([[1, 2], [1, 3], [1, 2]], np.uint64)).tolist()
    [0, 1, 0]
    """
    order = np.lexsort(hashes.T)  # stable: of equal rows the first comes first
    new = np.ones(len(order), dtype=bool)
    new[1:] = (hashes[order[1:]] != hashes[order[:-1]]).any(axis=1)
    first = np.empty(len(order), np.int64)
    first[order] = order[new][np.cumsum(new) - 1]
    return first
