"""Texts as arrays of word hashes, the n-grams that they share, and which of them repeat one before.

All is done by sorting arrays of a part of the words at a time. The hashes may lie in a file, 8 bytes a word; in memory
is a quarter of that while the n-grams that stand in two texts are sought.
"""

import hashlib
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llm.corpus.normalise import split_words

Ints = NDArray[np.int64]
Numbers = NDArray[np.int32]  # half the memory where there is one for every n-gram
Hashes = NDArray[np.uint64]

_ODD = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio: multiplier of the rolling hash
BLOCK = 1 << 18  # words looked at in one go: what is made of them stays in the processor's cache
PASSES = 4  # over the words, of each a quarter of the n-grams is kept
BUCKETS = 16  # by which those are sorted apart
KNOWN_WORDS = 1 << 18  # whose hashes are kept: nearly all words that a text has


@dataclass(frozen=True)
class Words:
    """The words of many texts, end to end."""

    hashes: Hashes  # (N,)
    offsets: Ints  # (T + 1,) where each text starts, and N

    @property
    def counts(self) -> Ints:
        """Words of each text, (T,)."""
        return np.diff(self.offsets)


class _WordHashes(dict[str, bytes]):
    """64 bits of each word, the same in every process (Python's own hash of a string is not); filled as words come."""

    def __missing__(self, word: str) -> bytes:
        if len(self) >= KNOWN_WORDS:
            self.clear()  # those that are frequent come again soon
        self[word] = digest = hashlib.blake2b(word.encode("utf-8", "replace"), digest_size=8).digest()
        return digest


_hash_of = _WordHashes().__getitem__


def _hash_text(text: str) -> bytes:
    return b"".join(map(_hash_of, split_words(text)))


def hash_words(texts: Iterable[str]) -> Words:
    """The words of each text (lower case, no punctuation) as 64-bit hashes."""
    hashes, offsets = bytearray(), array("q", [0])
    for text in texts:
        hashes += _hash_text(text)
        offsets.append(len(hashes) // 8)
    return Words(np.frombuffer(hashes, "<u8"), np.frombuffer(offsets, np.int64))


def map_words(texts: Iterable[str], path: Path) -> Words:
    """What `hash_words` gives, the hashes in the new file `path`, memory-mapped: they may exceed the memory."""
    offsets = array("q", [0])
    with path.open("wb") as file:
        for text in texts:
            offsets.append(offsets[-1] + file.write(_hash_text(text)) // 8)
    hashes = np.memmap(path, "<u8", mode="r") if offsets[-1] else np.empty(0, np.uint64)
    return Words(np.asarray(hashes), np.frombuffer(offsets, np.int64))


def join_texts(words: Words, counts: Ints) -> Words:
    """The first texts joined, so many of them to each longer text: no word reaches over the end of a text."""
    offsets = words.offsets[np.concatenate([[0], np.cumsum(counts)])]
    return Words(words.hashes[: offsets[-1]], offsets)


def _mix(hashes: Hashes) -> Hashes:
    """Hashes of hashes: the last steps of splitmix64 (Steele et al. 2014)."""
    mixed = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def ngrams(words: Words, n: int) -> tuple[Hashes, Ints]:
    """Hash of every run of n words inside one text, and the number of that text; both (M,), in order.

    Two different runs among 180 million collide with a probability of 1e-3, and have to stand in the wrong texts then.
    """
    starts = np.arange(len(words.hashes) - n + 1, dtype=np.int64)
    if len(starts) <= 0:
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    rolling = np.zeros(len(starts), np.uint64)
    for i in range(n):
        rolling *= _ODD  # wraps at 2**64
        rolling += words.hashes[i : i + len(starts)]
        rolling ^= rolling >> np.uint64(29)
    text = np.repeat(np.arange(len(words.counts)), words.counts)[: len(starts)]
    inside = starts + n <= words.offsets[text + 1]
    return rolling[inside], text[inside]


def distinct(values: Ints) -> Ints:
    """The different values, ascending.

    By sorting: numpy 2.4's own `unique` hashes, which took ten times as long on numbers that are multiples of another.
    """
    values = np.sort(values)
    return values[np.append(True, values[1:] != values[:-1])] if len(values) else values


def rows(starts: Ints, chosen: Ints) -> tuple[Ints, Ints]:
    """Numbers of all entries of the chosen rows, and the place in `chosen` that each belongs to."""
    counts = starts[chosen + 1] - starts[chosen]
    owner = np.repeat(np.arange(len(chosen)), counts)
    return np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts - starts[chosen], counts), owner


def chunks(starts: Ints, chosen: Ints, size: int) -> Iterator[tuple[int, Ints]]:
    """The chosen rows, about `size` entries at a time, a larger row by itself; with the place of the first."""
    ends = np.cumsum(starts[chosen + 1] - starts[chosen])
    first = 0
    while first < len(chosen):
        done = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, done + size, side="right")))
        yield first, chosen[first:last]
        first = last


def blocks(words: Words, texts: Ints | None = None) -> Iterator[tuple[int, Words]]:
    """The texts with these numbers, or all, in blocks of about BLOCK words; with the place of the block's first."""
    chosen = np.arange(len(words.counts)) if texts is None else texts
    for first, some in chunks(words.offsets, chosen, BLOCK):
        counts = words.offsets[some + 1] - words.offsets[some]
        yield first, Words(words.hashes[rows(words.offsets, some)[0]], np.append(0, np.cumsum(counts)))


def text_forms(words: Words) -> Ints:
    """(T,) the number of each text's form: texts of the same words share it. Numbered by first appearance.

    Two of 3.6 million different texts are taken for equal with a probability of 4e-7.
    """
    forms = np.zeros(len(words.offsets) - 1, np.uint64)
    for first, block in blocks(words):
        place = np.arange(len(block.hashes)) - np.repeat(block.offsets[:-1], block.counts)
        mixed = np.append(_mix(block.hashes + _mix(place.astype(np.uint64) * _ODD)), np.uint64(0))
        sums = np.add.reduceat(mixed, block.offsets[:-1])
        forms[first : first + len(sums)] = np.where(block.counts > 0, sums, np.uint64(0))
    _, first_of, form = np.unique(forms, return_index=True, return_inverse=True)
    rank = np.empty(len(first_of), np.int64)
    rank[np.argsort(first_of)] = np.arange(len(first_of))
    return rank[form]


def select_texts(words: Words, texts: Ints) -> Words:
    """The words of the texts with these numbers, in this order."""
    offsets = np.append(0, np.cumsum(words.counts[texts]))
    hashes = np.empty(offsets[-1], np.uint64)
    for first, block in blocks(words, texts):
        hashes[offsets[first] : offsets[first] + len(block.hashes)] = block.hashes
    return Words(hashes, offsets)


@dataclass(frozen=True)
class SharedNgrams:
    """The n-grams that stand in two or more of T texts."""

    gram: Numbers  # (S,) number of the n-gram, the rarest are the lowest; ascending within a text
    starts: Ints  # (T + 1,) where each text starts
    sizes: Ints  # (T,) distinct n-grams of each text, those of no other text included
    kinds: int  # different n-grams

    @cached_property
    def text(self) -> Numbers:
        """(S,) the text that each n-gram stands in, ascending."""
        return np.repeat(np.arange(len(self.sizes), dtype=np.int32), np.diff(self.starts))


def _ascending(grams: Hashes) -> Ints:
    """The order that sorts the n-grams, equal ones as they stand: `argsort(kind="stable")`, in a quarter of its time.

    One array is sorted, of hashes whose lowest bits are the place. Where these bits decide, they decide wrongly, which
    is seen and done again.
    """
    place = np.uint64((1 << len(grams).bit_length()) - 1)
    keys = (grams & ~place) | np.arange(len(grams), dtype=np.uint64)
    keys.sort()
    order = (keys & place).astype(np.int64)
    ascend = grams[order]
    return order if (ascend[1:] >= ascend[:-1]).all() else np.argsort(grams, kind="stable")


def _distinct(grams: Hashes, text: Ints) -> tuple[Hashes, Ints]:
    """Each n-gram once for each text that has it, ascending, and the text; `text` ascends."""
    order = _ascending(grams)
    grams, text = grams[order], text[order]
    first = np.ones(len(grams), dtype=bool)
    first[1:] = (grams[1:] != grams[:-1]) | (text[1:] != text[:-1])
    return grams[first], text[first]


def _frequent(words: Words, texts: Ints | None, n: int) -> tuple[Hashes, Ints]:
    """The n-grams that stand in two or more texts, ascending, and the number of those texts."""
    width = 2**64 // (PASSES * BUCKETS)
    found = [(np.empty(0, np.uint64), np.empty(0, np.int64))]
    for number in range(PASSES):
        bounds = np.array([(number * BUCKETS + i) * width for i in range(1, BUCKETS)], np.uint64)
        parts: list[list[Hashes]] = [[] for _ in range(BUCKETS)]
        for _, block in blocks(words, texts):
            grams, text = ngrams(block, n)
            now = grams // np.uint64(BUCKETS * width) == number
            grams = _distinct(grams[now], text[now])[0]
            for part, piece in zip(parts, np.split(grams, np.searchsorted(grams, bounds)), strict=True):
                part.append(piece.copy())  # a part of its own, that is free again before the others
        for part in parts:
            grams, counts = np.unique(np.concatenate([np.empty(0, np.uint64), *part]), return_counts=True)
            part.clear()
            found.append((grams[counts > 1], counts[counts > 1]))
    return np.concatenate([grams for grams, _ in found]), np.concatenate([counts for _, counts in found])


def shared_ngrams(words: Words, n: int, texts: Ints | None = None) -> SharedNgrams:
    """Which texts share which runs of n words; what stands in one text only (most of it) is left out.

    With `texts`, of those with these numbers alone, which then count from 0.
    """
    frequent, counts = _frequent(words, texts, n)
    number = np.empty(len(frequent), np.int32)
    number[np.argsort(counts, kind="stable")] = np.arange(len(frequent), dtype=np.int32)
    n_texts = len(words.counts) if texts is None else len(texts)
    sizes, shared = np.zeros(n_texts, np.int64), np.zeros(n_texts, np.int64)
    gram = array("i")
    for first, block in blocks(words, texts):
        grams, owner = _distinct(*ngrams(block, n))
        here = slice(first, first + len(block.counts))
        sizes[here] = np.bincount(owner, minlength=len(block.counts))
        if not len(frequent):
            continue
        at = np.minimum(np.searchsorted(frequent, grams), len(frequent) - 1)
        known = frequent[at] == grams
        shared[here] = np.bincount(owner[known], minlength=len(block.counts))
        entries = (owner[known] << 32) | number[at[known]]  # each differs: sorted as pairs
        entries.sort()
        gram.frombytes(entries.astype(np.int32).tobytes())
    starts = np.append(0, np.cumsum(shared))
    return SharedNgrams(np.frombuffer(gram, np.int32), starts, sizes, len(frequent))


def repeated(n_texts: int, pairs: Ints) -> NDArray[np.bool_]:
    """(T,) whether a text is similar to one before it that is kept: of every pair of kept texts none is similar.

    >>> repeated(3, np.array([[0, 1], [1, 2]])).tolist()  # 2 stays: it is similar only to 1, which goes
    [False, True, False]
    """
    repeats = np.zeros(n_texts, dtype=bool)
    for first, later in pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))].tolist():
        repeats[later] |= not repeats[first]
    return repeats
