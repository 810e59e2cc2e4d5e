import math
import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.evaluation.ngram import UNMEASURED_DISCOUNT, train_ngram

V = 6
dialogues = st.lists(st.lists(st.integers(0, V - 1), max_size=12), max_size=6)


def train(corpus, vocab_size=V, order=5):
    ids = np.array([token for dialogue in corpus for token in dialogue], dtype=np.uint16)
    return train_ngram(ids, np.cumsum([0, *map(len, corpus)]), vocab_size, order)


class Slow:
    """The formula of the module's docstring word by word, with dictionaries of tuples."""

    def __init__(self, corpus, vocab_size, order):
        self.vocab_size, self.order = vocab_size, order
        seen = Counter()
        for dialogue in corpus:
            marked = ["mark"] * (order - 1) + dialogue
            for i in range(order - 1, len(marked)):
                seen[tuple(marked[i - order + 1 : i + 1])] += 1
        self.counts = {order: seen}
        for n in range(order - 1, 0, -1):
            self.counts[n] = Counter(longer[1:] for longer in self.counts[n + 1])

    def discount(self, n):
        once, twice = (list(self.counts[n].values()).count(times) for times in (1, 2))
        return once / (once + 2 * twice) if once else UNMEASURED_DISCOUNT

    def p(self, context, token, n):
        if n == 0:
            return 1 / self.vocab_size
        lower = self.p(context[1:], token, n - 1)
        following = [count for gram, count in self.counts[n].items() if gram[:-1] == context]
        if not following:
            return lower
        discount = self.discount(n)
        own = max(self.counts[n][(*context, token)] - discount, 0)
        return (own + discount * len(following) * lower) / sum(following)

    def logprobs(self, ids):
        marked = ["mark"] * (self.order - 1) + ids
        places = range(self.order - 1, len(marked))
        return [math.log(self.p(tuple(marked[i - self.order + 1 : i]), marked[i], self.order)) for i in places]


@settings(deadline=None)
@given(dialogues, st.lists(st.integers(0, V - 1), max_size=12), st.integers(1, 5))
def test_it_equals_the_formula_written_with_dictionaries(corpus, ids, order):
    found = train(corpus, order=order).token_logprobs(ids)
    assert found == pytest.approx(Slow(corpus, V, order).logprobs(ids), abs=1e-9)


@settings(deadline=None)
@given(dialogues, st.lists(st.integers(0, V - 1), max_size=8))
def test_probabilities_sum_to_one_after_any_context(corpus, context):
    model = train(corpus)
    total = sum(math.exp(model.token_logprobs([*context, token])[-1]) for token in range(V))
    assert total == pytest.approx(1, abs=1e-12)


def test_a_worked_bigram():
    # Bigrams of "0 1 0 1 0 2" behind one mark: m0 01 10 01 10 02, so D_2 = 2 / (2 + 2 * 2) = 1/3.
    # Tokens before them: 0 has {m, 1}, 1 has {0}, 2 has {0}: counts 2, 1, 1, so D_1 = 2 / (2 + 2) = 1/2.
    # p_1(1) = (1 - 1/2 + 1/2 * 3 * 1/4) / 4 = 7/32 and p_2(1 | 0) = (2 - 1/3 + 1/3 * 2 * 7/32) / 3 = 29/48.
    model = train([[0, 1, 0, 1, 0, 2]], vocab_size=4, order=2)
    assert math.exp(model.token_logprobs([0, 1])[1]) == pytest.approx((5 / 3 + 7 / 48) / 3)


def test_a_frequent_token_that_follows_one_word_only_is_unlikely_after_others():
    san, francisco, tea = 0, 1, 2  # the example of Chen and Goodman
    model = train([[san, francisco]] * 20 + [[3, tea], [4, tea], [5, tea]], order=2)
    assert model.token_logprobs([tea, tea])[1] > model.token_logprobs([tea, francisco])[1]


def test_an_unseen_context_backs_off_to_the_longest_one_that_was_seen():
    corpus = [[0, 1, 2, 3, 4], [1, 2, 4], [5, 2, 4]]
    model, slow = train(corpus), Slow(corpus, V, 5)
    assert model.token_logprobs([4, 4, 1, 2, 4])[-1] == pytest.approx(math.log(slow.p((1, 2), 4, 3)))
    assert model.token_logprobs([4, 4, 4, 2, 4])[-1] == pytest.approx(math.log(slow.p((2,), 4, 2)))


def test_a_token_depends_on_the_four_before_it_only():
    model = train([[0, 1, 2, 3, 4, 5, 0, 1, 2]])
    assert model.token_logprobs([5, 3, 1, 2, 3, 4, 5])[-1] == model.token_logprobs([0, 0, 1, 2, 3, 4, 5])[-1]


def test_the_order_of_the_dialogues_changes_nothing():
    corpus = [[0, 1, 2], [3, 4], [2, 2, 5, 1]]
    ids = [0, 1, 2, 3, 4, 2]  # reaches over what would be a border
    assert np.array_equal(train(corpus).token_logprobs(ids), train(corpus[::-1]).token_logprobs(ids))


def test_an_empty_corpus_gives_a_uniform_model():
    assert train([]).token_logprobs([0, 5]) == pytest.approx([-math.log(V)] * 2)


def test_no_tokens_have_no_logprobs():
    assert train([[0, 1]]).token_logprobs([]).shape == (0,)


def test_a_higher_order_fits_a_repetitive_text_better():
    generator = np.random.default_rng(1)
    phrases = generator.integers(0, 50, (20, 6))
    corpus = [phrases[generator.integers(0, 20, 8)].flatten().tolist() for _ in range(80)]
    held_out = [token for phrase in phrases[generator.permutation(20)] for token in phrase.tolist()]
    means = [train(corpus, 50, order).token_logprobs(held_out).mean() for order in (1, 2, 3, 5)]
    assert means == sorted(means)


@pytest.mark.parametrize("ids", [[0, V], [-1]])
def test_an_id_outside_the_vocabulary_is_refused(ids):
    with pytest.raises(ValueError, match="the vocabulary has 6"):
        train([[0, 1]]).token_logprobs(ids)


def test_the_largest_vocabulary_of_a_token_file_fits_into_the_keys():
    ids = np.random.default_rng(1).integers(0, 65_535, 20_000)
    model = train_ngram(ids, [0, len(ids)], 65_535)
    assert np.isfinite(model.token_logprobs(ids[:100].tolist())).all()


def test_scoring_takes_microseconds_a_token():
    generator = np.random.default_rng(1)
    ids = generator.zipf(1.3, 200_000) % 4096
    model = train_ngram(ids, np.arange(0, 200_001, 400), 4096)
    started = time.perf_counter()
    model.token_logprobs(ids[:100_000].tolist())
    assert time.perf_counter() - started < 3  # 0.2 s alone on one core
