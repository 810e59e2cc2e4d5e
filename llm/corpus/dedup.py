"""Texts as arrays of word hashes, the n-grams that they share, and which of them repeat one before.

All is done by sorting arrays of a part of the words at a time: 180 million words take 8 bytes each, and as much again
while the n-grams that stand in two texts are sought.
"""

import hashlib
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from llm.corpus.normalise import split_words

Ints = NDArray[np.int64]
Numbers = NDArray[np.int32]  # half the memory where there is one for every n-gram
Hashes = NDArray[np.uint64]

_ODD = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio: multiplier of the rolling hash
BLOCK = 1 << 22  # words looked at in one go
BUCKETS = 64  # by which hashes are sorted apart where there are more
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


@lru_cache(KNOWN_WORDS)
def _hash_word(word: str) -> int:
    """64 bits, the same in every process (Python's own hash of a string is not)."""
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "replace"), digest_size=8).digest(), "little")


def hash_words(texts: Iterable[str]) -> Words:
    """The words of each text (lower case, no punctuation) as 64-bit hashes."""
    hashes, offsets = array("Q"), array("q", [0])
    for text in texts:
        hashes.extend(map(_hash_word, split_words(text)))
        offsets.append(len(hashes))
    return Words(np.frombuffer(hashes, np.uint64), np.frombuffer(offsets, np.int64))


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
        rolling = rolling * _ODD + words.hashes[i : i + len(starts)]  # wraps at 2**64
        rolling ^= rolling >> np.uint64(29)
    text = np.searchsorted(words.offsets, starts, side="right") - 1
    inside = starts + n <= words.offsets[text + 1]
    return rolling[inside], text[inside]


def distinct(values: Ints) -> Ints:
    """The different values, ascending.

    By sorting: numpy 2.4's own `unique` hashes, which took ten times as long on numbers that are multiples of another.
    """
    values = np.sort(values)
    return values[np.append(True, values[1:] != values[:-1])] if len(values) else values


def blocks(words: Words) -> Iterator[tuple[int, Words]]:
    """The texts in blocks of about BLOCK words, a larger text by itself; with the number of the block's first text."""
    first, n = 0, len(words.offsets) - 1
    while first < n:
        last = max(first + 1, int(np.searchsorted(words.offsets, words.offsets[first] + BLOCK, side="right")) - 1)
        offsets = words.offsets[first : last + 1]
        yield first, Words(words.hashes[offsets[0] : offsets[-1]], offsets - offsets[0])
        first = last


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
    offsets = np.concatenate([[0], np.cumsum(words.counts[texts])]).astype(np.int64)
    hashes = np.empty(offsets[-1], np.uint64)
    for i, text in enumerate(texts.tolist()):
        hashes[offsets[i] : offsets[i + 1]] = words.hashes[words.offsets[text] : words.offsets[text + 1]]
    return Words(hashes, offsets)


@dataclass(frozen=True)
class SharedNgrams:
    """The n-grams that stand in two or more of T texts."""

    gram: Numbers  # (S,) number of the n-gram, the rarest are the lowest; ascending within a text
    text: Numbers  # (S,) ascending
    sizes: Ints  # (T,) distinct n-grams of each text, those of no other text included
    kinds: int  # different n-grams

    @cached_property
    def starts(self) -> Ints:
        """(T + 1,) where each text starts."""
        return np.searchsorted(self.text, np.arange(len(self.sizes) + 1))


def _distinct(words: Words, n: int) -> tuple[Hashes, Ints]:
    """Each n-gram once for each text that has it, ascending, and the text."""
    grams, text = ngrams(words, n)
    order = np.argsort(grams, kind="stable")  # text stays ascending within an n-gram
    grams, text = grams[order], text[order]
    first = np.ones(len(grams), dtype=bool)
    first[1:] = (grams[1:] != grams[:-1]) | (text[1:] != text[:-1])
    return grams[first], text[first]


def _frequent(words: Words, n: int) -> tuple[Hashes, Ints]:
    """The n-grams that stand in two or more texts, ascending, and the number of those texts."""
    bounds = (np.arange(1, BUCKETS, dtype=np.uint64) << np.uint64(58)).tolist()
    parts: list[list[Hashes]] = [[] for _ in range(BUCKETS)]
    for _, block in blocks(words):
        grams = _distinct(block, n)[0]
        pieces = np.split(grams, np.searchsorted(grams, np.array(bounds, np.uint64)))
        for part, piece in zip(parts, pieces, strict=True):
            part.append(piece)
    found = [(np.empty(0, np.uint64), np.empty(0, np.int64))]
    for part in parts:
        grams, counts = np.unique(np.concatenate([np.empty(0, np.uint64), *part]), return_counts=True)
        part.clear()
        found.append((grams[counts > 1], counts[counts > 1]))
    return np.concatenate([grams for grams, _ in found]), np.concatenate([counts for _, counts in found])


def shared_ngrams(words: Words, n: int) -> SharedNgrams:
    """Which texts share which runs of n words; what stands in one text only (most of it) is left out."""
    frequent, counts = _frequent(words, n)
    number = np.empty(len(frequent), np.int32)
    number[np.argsort(counts, kind="stable")] = np.arange(len(frequent), dtype=np.int32)
    sizes = np.zeros(len(words.offsets) - 1, np.int64)
    gram, text = array("i"), array("i")
    for first, block in blocks(words):
        grams, owner = _distinct(block, n)
        sizes[first : first + len(block.counts)] = np.bincount(owner, minlength=len(block.counts))
        if not len(frequent):
            continue
        at = np.minimum(np.searchsorted(frequent, grams), len(frequent) - 1)
        shared = frequent[at] == grams
        numbers, owner = number[at[shared]], owner[shared]
        order = np.lexsort((numbers, owner))
        gram.frombytes(numbers[order].tobytes())
        text.frombytes((owner[order] + first).astype(np.int32).tobytes())
    return SharedNgrams(np.frombuffer(gram, np.int32), np.frombuffer(text, np.int32), sizes, len(frequent))


def repeated(n_texts: int, pairs: Ints) -> NDArray[np.bool_]:
    """(T,) whether a text is similar to one before it that is kept: of every pair of kept texts none is similar.

    >>> repeated(3, np.array([[0, 1], [1, 2]])).tolist()  # 2 stays: it is similar only to 1, which goes
    [False, True, False]
    """
    repeats = np.zeros(n_texts, dtype=bool)
    for first, later in pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))].tolist():
        repeats[later] |= not repeats[first]
    return repeats
