"""Texts whose sets of word n-grams are nearly the same, found in a time that grows with their words.

Texts of Jaccard similarity t or more share ceil(t * size) n-grams of either. So the first l that they share, counted
from the rarest, are among the rarest size - ceil(t * size) + l of both (prefix filtering: Chaudhuri et al. 2006,
Bayardo et al. 2007; l of them: Wang et al. 2012), and only texts that share l of these are compared.

An n-gram that many texts have, as those of a template, would pair all with all. Where a text has no rarer one in common
with another, such n-grams are looked up in pairs, and lead to a few texts only. So what is found is
- every similar pair that shares an n-gram of COMMON texts or fewer: none is missed, none invented;
- of the pairs that share only more common ones, those with the first FEW texts that have two such n-grams. Where all of
  a family are alike this is enough: each is found to be like its first members.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llm.corpus.dedup import Ints, SharedNgrams, Words, chunks, distinct, rows, shared_ngrams

COMMON = 16  # texts: an n-gram of more is too common to be looked up alone
FEW = 8  # texts compared for each pair of common n-grams
PAIRED = 6  # common n-grams of a text that are paired: the rarest, 21 pairs
CHUNK = 1 << 19  # n-grams of the texts looked up in one go
COMPARED = 1 << 14  # pairs of texts in one go
_ROUNDING = 1e-9  # so that 0.8 * 5 asks for 4 shared n-grams, not 5


@dataclass(frozen=True)
class _Prefix:
    """Entries of some texts in order of rarity, and which are among the rarest that decide."""

    gram: Ints  # (S,)
    owner: Ints  # (S,) ascending
    rank: Ints  # (S,) place in the text, the rarest 0; n-grams of no other text stand first and are no entries
    least: Ints  # (Q,) l: n-grams that a similar text shares with this one's prefix
    decide: Ints  # (Q,) rank below which one n-gram is shared; l - 1 higher, l are

    def within(self) -> NDArray[np.bool_]:
        """(S,) which entries are among the rarest of their text, of which l are shared."""
        return self.rank < (self.decide + self.least - 1)[self.owner]


def _prefix(sets: SharedNgrams, texts: Ints, holders: Ints, threshold: float) -> _Prefix:
    at, owner = rows(sets.starts, texts)
    gram = sets.gram[at].astype(np.int64)
    order = np.argsort(holders[gram] << 32 | gram)  # by two keys at once: in a seventh of the time of `lexsort`
    place = owner[order] << 32 | np.arange(len(order))
    place.sort()
    gram = gram[order[place & 0xFFFFFFFF]]
    size = sets.sizes[texts]
    n_shared = sets.starts[texts + 1] - sets.starts[texts]
    rank = np.arange(len(gram)) - np.repeat(np.cumsum(n_shared) - size, n_shared)
    needed = np.ceil(threshold * size - _ROUNDING).astype(np.int64)
    return _Prefix(gram, owner, rank, 1 + np.maximum(needed - 1, 0) // 4, size - needed + 1)


def _gram_pairs(prefix: _Prefix, common: NDArray[np.bool_], kinds: int) -> tuple[Ints, Ints]:
    """Pairs of common n-grams (an n-gram with itself too) of each text, as numbers, and the text."""
    use = common[prefix.gram] & (prefix.rank <= prefix.decide[prefix.owner])
    gram, owner = prefix.gram[use], prefix.owner[use]
    counts = np.bincount(owner, minlength=len(prefix.least))
    place = np.arange(len(gram)) - np.repeat(np.cumsum(counts) - counts, counts)
    table = np.full((len(counts), PAIRED), -1, np.int64)
    table[owner[place < PAIRED], place[place < PAIRED]] = gram[place < PAIRED]
    first, second = np.triu_indices(PAIRED)
    one, other = table[:, first], table[:, second]
    text, column = np.nonzero(other >= 0)
    return one[text, column] * kinds + other[text, column], text


class Index:
    """The texts that others are compared with."""

    def __init__(self, sets: SharedNgrams, texts: Ints, threshold: float) -> None:
        self.sets, self.texts, self.threshold = sets, texts, threshold
        self.holders = np.zeros(sets.kinds, np.int64)
        for _, some in _chunks(sets, texts):
            np.add.at(self.holders, sets.gram[rows(sets.starts, some)[0]], 1)
        self.common = self.holders > COMMON
        self.least = np.empty(len(texts), np.int64)
        grams, holder = [np.empty(0, np.int32)], [np.empty(0, np.int32)]
        keys, owners = [np.empty(0, np.int64)], [np.empty(0, np.int32)]
        for start, some in _chunks(sets, texts):
            prefix = _prefix(sets, some, self.holders, threshold)
            self.least[start : start + len(some)] = prefix.least
            rare = prefix.within() & ~self.common[prefix.gram]
            grams.append(prefix.gram[rare].astype(np.int32))
            holder.append((prefix.owner[rare] + start).astype(np.int32))
            pairs, text = _gram_pairs(prefix, self.common, sets.kinds)
            keys.append(pairs)
            owners.append((text + start).astype(np.int32))
        gram = np.concatenate(grams)
        order = np.argsort(gram, kind="stable")
        self.holder = np.concatenate(holder)[order]
        self.first = np.concatenate([[0], np.cumsum(np.bincount(gram, minlength=sets.kinds))])
        del grams, holder, gram, order
        key, text = np.concatenate(keys), np.concatenate(owners)
        order = np.lexsort((text, key))
        self.key, first = np.unique(key[order], return_index=True)
        self.key_first, self.key_text = np.append(first, len(key)), text[order].astype(np.int32)
        # Ascending by pair of n-grams and text, so that a query finds the first text it may be similar to.
        self.ordered = np.repeat(np.arange(len(self.key)), np.diff(self.key_first)) * len(texts) + self.key_text

    def candidates(self, queries: Ints, since: Ints) -> tuple[Ints, Ints]:
        """Places of queries and of texts that may be similar, each pair once; only texts from place `since` on."""
        prefix = _prefix(self.sets, queries, self.holders, self.threshold)
        in_prefix = prefix.within()
        rare = in_prefix & ~self.common[prefix.gram]
        at, entry = rows(self.first, prefix.gram[rare])
        query, counts = _count(prefix.owner[rare][entry] * len(self.texts) + self.holder[at])
        n_common = np.bincount(prefix.owner[in_prefix & ~rare], minlength=len(queries))
        one, other = np.divmod(query, max(len(self.texts), 1))
        enough = counts >= np.maximum(np.minimum(prefix.least[one], self.least[other]) - n_common[one], 1)
        pairs = distinct(np.concatenate([query[enough], self._through_common(prefix, since)]))
        query, text = np.divmod(pairs, len(self.texts))
        return query, text

    def _through_common(self, prefix: _Prefix, since: Ints) -> Ints:
        """Pairs with the first FEW texts, from place `since` on, that share two common n-grams with a query."""
        keys, query = _gram_pairs(prefix, self.common, self.sets.kinds)
        if not len(self.key):
            return np.empty(0, np.int64)
        at = np.minimum(np.searchsorted(self.key, keys), len(self.key) - 1)
        query, at = query[self.key[at] == keys], at[self.key[at] == keys]
        n = len(self.texts)
        start = np.searchsorted(self.ordered, at * n + since[query])
        place = start[:, None] + np.arange(FEW)
        valid = place < self.key_first[at + 1][:, None]
        return distinct(np.repeat(query, FEW).reshape(place.shape)[valid] * n + self.key_text[place[valid]])


def _count(values: Ints) -> tuple[Ints, Ints]:
    return np.unique(values, return_counts=True)


def _chunks(sets: SharedNgrams, texts: Ints) -> Iterator[tuple[int, Ints]]:
    """The texts, about CHUNK n-grams at a time, and the place of the first."""
    return chunks(sets.starts, texts, CHUNK)


def _similarities(sets: SharedNgrams, a: Ints, b: Ints) -> NDArray[np.float64]:
    """Jaccard similarity of each pair of texts."""
    at_a, pair_a = rows(sets.starts, a)
    at_b, pair_b = rows(sets.starts, b)
    keys = np.concatenate([pair_a * sets.kinds + sets.gram[at_a], pair_b * sets.kinds + sets.gram[at_b]])
    keys.sort()
    both = np.bincount(keys[1:][keys[1:] == keys[:-1]] // max(sets.kinds, 1), minlength=len(a))
    return both / np.maximum(sets.sizes[a] + sets.sizes[b] - both, 1)


def _verified(sets: SharedNgrams, a: Ints, b: Ints, threshold: float) -> NDArray[np.bool_]:
    """Which of the pairs are similar."""
    small, large = np.minimum(sets.sizes[a], sets.sizes[b]), np.maximum(sets.sizes[a], sets.sizes[b])
    similar = small >= threshold * large - _ROUNDING
    left = np.flatnonzero(similar)
    for start in range(0, len(left), COMPARED):
        some = left[start : start + COMPARED]
        similar[some] = _similarities(sets, a[some], b[some]) >= threshold - _ROUNDING
    return similar


def similar_pairs(sets: SharedNgrams, threshold: float) -> Ints:
    """(P, 2) pairs of texts with a similarity of at least `threshold`; the smaller number first, pairs ascend."""
    texts = np.flatnonzero(sets.sizes > 0)
    index = Index(sets, texts, threshold)
    found, n = [np.empty(0, np.int64)], max(len(sets.sizes), 1)
    for start, some in _chunks(sets, texts):
        query, place = index.candidates(some, np.zeros(len(some), np.int64))
        earlier = place < query + start
        a, b = texts[place[earlier]], some[query[earlier]]
        similar = _verified(sets, a, b, threshold)
        found.append(a[similar] * n + b[similar])
    return np.stack(np.divmod(distinct(np.concatenate(found)), n), axis=1)


def near_any(sets: SharedNgrams, texts: Ints, others: Ints, threshold: float) -> NDArray[np.bool_]:
    """(Q,) whether each of the texts is similar to one of the others.

    Of the others that share common n-grams alone with a text, the shortest are compared that may be similar at all: at
    the same overlap they are the most similar ones.
    """
    others = others[np.argsort(sets.sizes[others], kind="stable")]
    index, near = Index(sets, others, threshold), np.zeros(len(texts), dtype=bool)
    for start, some in _chunks(sets, texts):
        smallest = np.ceil(threshold * sets.sizes[some] - _ROUNDING)
        query, place = index.candidates(some, np.searchsorted(sets.sizes[others], smallest))
        similar = _verified(sets, some[query], others[place], threshold)
        near[start + query[similar]] = True
    return near


def similar_forms(words: Words, form: Ints, n: int, threshold: float, min_words: int) -> Ints:
    """(P, 2) pairs of forms (`text_forms`) of at least `min_words` words that are similar but not equal."""
    forms, first = np.unique(form, return_index=True)
    long = words.counts[first] >= min_words
    return forms[long][similar_pairs(shared_ngrams(words, n, first[long]), threshold)]
