"""Interpolated Kneser-Ney n-grams (Kneser & Ney 1995; Chen & Goodman 1999, section 3): the bar a network must pass.

p_n(w | c) = (max(count(c w) - D_n, 0) + D_n types(c) p_{n-1}(w | c without its first token)) / total(c)

`count` is how often an n-gram occurs at the highest order, and how many different tokens precede it below; `types(c)`
is how many different tokens follow c, `total(c)` the sum of their counts. Order 1 interpolates with 1 / V, so that no
token is impossible. A dialogue begins after `order - 1` boundary marks, which are seen but never predicted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

ORDER = 5
UNMEASURED_DISCOUNT = 0.5  # where no n-gram occurs once, so that n1 / (n1 + 2 n2) says nothing

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Table:
    """The n-grams of one length. An n-gram's number is its place in `keys`, -1 if it was never seen.

    What -1 finds ends each array: a key above all others, counts of 0.
    """

    keys: Ints  # (K + 1,) number of the first n - 1 tokens * (V + 1) + the last token, ascending
    counts: Ints  # (K + 1,)
    totals: Ints  # (contexts + 1,) by the number of the first n - 1 tokens
    types: Ints  # (contexts + 1,)
    discount: float

    def find(self, keys: Ints) -> Ints:
        """Number of each n-gram, -1 where it is unknown."""
        places = np.searchsorted(self.keys, keys)
        return np.where(self.keys[places] == keys, places, -1)

    def probabilities(self, contexts: Ints, numbers: Ints, lower: Floats) -> Floats:
        """Of each n-gram's last token, given those of the order below."""
        totals = self.totals[contexts]
        discounted = np.maximum(self.counts[numbers] - self.discount, 0.0)
        own = (discounted + self.discount * self.types[contexts] * lower) / np.maximum(totals, 1)
        return np.where(totals > 0, own, lower)


@dataclass(frozen=True)
class KneserNey:
    """Counted n-grams of the lengths 1, 2, ..., `order`."""

    tables: tuple[Table, ...]
    vocab_size: int

    @property
    def order(self) -> int:
        """Tokens of the longest n-gram: a token depends on `order - 1` before it."""
        return len(self.tables)

    def token_logprobs(self, ids: Sequence[int]) -> Floats:
        """Log-probability (nats) of each token of a dialogue, given those before it.

        Raises ValueError for an id outside the vocabulary.
        """
        last = np.asarray(ids, dtype=np.int64)
        if last.size and not 0 <= last.min() <= last.max() < self.vocab_size:
            raise ValueError(f"token ids reach from {last.min()} to {last.max()}, the vocabulary has {self.vocab_size}")
        tokens = _mark_boundaries(last, np.array([0, len(last)]), self.vocab_size, self.order)
        numbers = np.zeros(len(tokens) + 1, dtype=np.int64)  # the only 0-gram, before and after each token
        p = np.full(len(last), 1 / self.vocab_size)
        for n, table in enumerate(self.tables, 1):
            contexts = numbers[:-1]
            numbers = table.find(contexts * (self.vocab_size + 1) + tokens[n - 1 :])
            start = len(numbers) - len(last)  # the n-grams before it end with a boundary mark
            p = table.probabilities(contexts[start:], numbers[start:], p)
        return np.log(p)


def _mark_boundaries(ids: Ints, offsets: Ints, vocab_size: int, order: int) -> Ints:
    """The dialogues laid end to end, each behind `order - 1` marks; the mark is the first id after the vocabulary."""
    n_marks = order - 1
    marked = np.full(len(ids) + n_marks * (len(offsets) - 1), vocab_size)
    dialogue = np.repeat(np.arange(1, len(offsets)), np.diff(offsets))
    marked[np.arange(len(ids)) + n_marks * dialogue] = ids
    return marked


def _discount(counts: Ints) -> float:
    """n1 / (n1 + 2 n2) of the n-grams that occur once and twice."""
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    return once / (once + 2 * twice) if once else UNMEASURED_DISCOUNT


def _table(keys: Ints, counts: Ints, n_contexts: int, vocab_size: int) -> Table:
    """The table of the n-grams of these keys and counts; one that ends with a boundary mark has count 0."""
    seen = counts > 0
    contexts = keys[seen] // (vocab_size + 1)
    totals = np.bincount(contexts, weights=counts[seen], minlength=n_contexts + 1).astype(np.int64)
    types = np.bincount(contexts, minlength=n_contexts + 1)
    return Table(np.append(keys, np.iinfo(np.int64).max), np.append(counts, 0), totals, types, _discount(counts))


def train_ngram(ids: ArrayLike, offsets: ArrayLike, vocab_size: int, order: int = ORDER) -> KneserNey:
    """N-grams counted in the dialogues ids[offsets[i]:offsets[i + 1]]; none reaches from one dialogue into the next."""
    starts = np.asarray(offsets, dtype=np.int64)
    tokens = _mark_boundaries(np.asarray(ids, dtype=np.int64), starts, vocab_size, order)
    numbers = np.zeros(len(tokens) + 1, dtype=np.int64)
    keys: list[Ints] = []
    suffixes: list[Ints] = []  # of each n-gram the number of its last n - 1 tokens
    for n in range(1, order + 1):
        shorter = numbers
        every = shorter[:-1] * (vocab_size + 1) + tokens[n - 1 :]
        unique, numbers = np.unique(every, return_inverse=True)
        suffix = np.empty(len(unique), dtype=np.int64)
        suffix[numbers] = shorter[1:]
        keys.append(unique)
        suffixes.append(suffix)
    predicted = [unique % (vocab_size + 1) != vocab_size for unique in keys]
    counts = [
        np.bincount(suffix[real], minlength=len(shorter_keys))
        for suffix, real, shorter_keys in zip(suffixes[1:], predicted[1:], keys[:-1], strict=True)
    ]
    counts.append(np.bincount(numbers, minlength=len(keys[-1])) * predicted[-1])
    n_contexts = [1, *map(len, keys[:-1])]
    tables = (_table(*one, vocab_size) for one in zip(keys, counts, n_contexts, strict=True))
    return KneserNey(tuple(tables), vocab_size)
