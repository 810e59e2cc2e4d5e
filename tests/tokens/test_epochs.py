import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.tokens.epochs import Epochs
from llm.tokens.packing import PADDING, TokenCorpus, pack_corpus

TIMES = np.array([1.0, 4.0, 2.5, 0.5, 0.0] * 6)


def corpus_of(lengths):
    """Dialogues of these lengths; the tokens are 0, 1, 2, ..., so each tells where it is from."""
    offsets = np.cumsum([0, *lengths])
    return TokenCorpus(np.arange(offsets[-1], dtype=np.uint32), offsets, offsets[:-1], None)


def epochs_of(lengths, seed=1, times=None):
    return Epochs(pack_corpus(corpus_of(lengths), 8, seed, times), seed)


def learned(epochs, epoch):
    """The tokens that are a target in an epoch, ascending."""
    targets = epochs.batch(range(epochs.n_rows(epoch), epochs.n_rows(epoch + 1))).targets
    return sorted(targets[targets >= 0].tolist())


@settings(deadline=None)
@given(st.lists(st.integers(2, 30), min_size=1, max_size=12), st.integers(0, 3))
def test_each_epoch_takes_every_row_once(lengths, seed):
    epochs = epochs_of(lengths, seed)
    for epoch in range(3):
        first, last = epochs.n_rows(epoch), epochs.n_rows(epoch + 1)
        places = [epochs.place(number) for number in range(first, last)]
        assert sorted(places) == [(epoch, row) for row in range(last - first)]


@settings(deadline=None)
@given(st.lists(st.integers(2, 30), min_size=1, max_size=12), st.integers(0, 3))
def test_each_epoch_learns_every_token_but_a_dialogues_first_once(lengths, seed):
    epochs = epochs_of(lengths, seed)
    starts = set(np.cumsum([0, *lengths])[:-1].tolist())
    expected = [token for token in range(sum(lengths)) if token not in starts]
    assert learned(epochs, 0) == learned(epochs, 1) == learned(epochs, 3) == expected


def test_a_source_is_learned_as_often_as_the_mixture_says():
    lengths = [7, 12, 9, 20, 5] * 6
    epochs, offsets = epochs_of(lengths, times=TIMES), np.cumsum([0, *lengths])
    tokens = np.concatenate([learned(epochs, epoch) for epoch in range(4)])
    counts = np.bincount(tokens, minlength=sum(lengths))
    for times, start, stop in zip(TIMES, offsets[:-1], offsets[1:], strict=True):
        assert (counts[start + 1 : stop] == 4 * times).all()


@pytest.mark.parametrize("times", [None, TIMES])
def test_only_the_last_row_of_an_epoch_has_padding(times):
    epochs = epochs_of([7, 12, 9, 20, 5] * 6, times=times)
    for epoch in range(3):
        numbers = range(epochs.n_rows(epoch), epochs.n_rows(epoch + 1))
        padded = [(epochs.batch([number]).documents == PADDING).any().item() for number in numbers]
        assert sum(padded) <= 1


def test_epochs_are_packed_anew_and_read_in_orders_of_their_own():
    epochs = epochs_of([3, 5, 7, 4] * 10)
    rows = [epochs.batch(range(epochs.n_rows(e), epochs.n_rows(e + 1))).ids.tolist() for e in range(3)]
    together = [{tuple(row) for row in part} for part in rows]
    assert len(together[0] & together[1]) < len(together[0]) / 2 > len(together[1] & together[2])
    other = epochs_of([3, 5, 7, 4] * 10, seed=2)
    assert other.batch(range(other.n_rows(1))).ids.tolist() != rows[0]


def test_where_a_run_goes_on_it_reads_what_it_would_have_read():
    straight, resumed = (epochs_of([7, 12, 9, 20, 5] * 6, times=TIMES) for _ in range(2))
    numbers = range(straight.n_rows(4) - 3, straight.n_rows(4) + 3)  # across the border of two epochs
    for number in range(numbers.start):
        straight.batch([number])
    found, again = straight.batch(numbers), resumed.batch(numbers)
    assert torch.equal(found.ids, again.ids) and torch.equal(found.targets, again.targets)
    assert found.ids.tolist() == [resumed.batch([number]).ids[0].tolist() for number in numbers]


def test_two_epochs_are_kept_and_each_is_packed_once(monkeypatch):
    packed = []

    def counted(self, seed):
        packed.append(seed)
        return pack_corpus(self.corpus, self.context_length, seed, self.times)

    monkeypatch.setattr("llm.tokens.packing.Packed.anew", counted)
    epochs = epochs_of([7, 12, 9, 20, 5])
    first = 0
    while epochs.place(first)[0] < 3:
        epochs.batch(range(first, first + 4))
        first += 4
    assert packed == [(1, 1), (1, 2), (1, 3)]
    assert len(epochs._kept) == 2
