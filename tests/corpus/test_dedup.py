import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import llm.corpus.dedup
from llm.corpus.dedup import (
    _ascending,
    _WordHashes,
    hash_words,
    map_words,
    ngrams,
    repeated,
    select_texts,
    shared_ngrams,
    text_forms,
)

TEXTS = st.lists(st.lists(st.sampled_from("abcd"), max_size=9).map(" ".join), max_size=12)


def test_case_and_punctuation_do_not_matter():
    words = hash_words(["Well, THAT's it.", "well thats it"])
    assert words.hashes[:3].tolist() == words.hashes[3:].tolist()


def test_hash_of_a_word_is_the_same_in_every_process():  # `printf a | b2sum -l 64`, its bytes backwards
    assert hash_words(["a"]).hashes.tolist() == [0x2F42665B399EF840]


def test_words_that_were_forgotten_have_the_same_hash_again(monkeypatch):
    monkeypatch.setattr(llm.corpus.dedup, "KNOWN_WORDS", 2)
    known = _WordHashes()
    hashes = [known[word] for word in ("one", "two", "three", "one")]
    assert len(known) == 2 and len(set(hashes)) == 3 and hashes[0] == hashes[3]


@pytest.mark.parametrize("texts", [["a b", "", "c"], ["", ""], []])
def test_words_in_a_file_are_those_in_memory(tmp_path, texts):
    mapped, words = map_words(texts, tmp_path / "words.bin"), hash_words(texts)
    assert (mapped.hashes.tolist(), mapped.offsets.tolist()) == (words.hashes.tolist(), words.offsets.tolist())
    assert (tmp_path / "words.bin").stat().st_size == 8 * len(words.hashes)


@given(st.lists(st.integers(0, 9) | st.integers(0, 2**64 - 1) | st.sampled_from([1 << 63, (1 << 63) + 1])))
def test_hashes_are_sorted_and_equal_ones_stay_in_order(values):
    hashes = np.array(values, np.uint64)
    assert _ascending(hashes).tolist() == np.argsort(hashes, kind="stable").tolist()


@given(TEXTS, st.integers(1, 4))
def test_ngrams_are_those_inside_each_text(texts, n):
    hashes, text = ngrams(hash_words(texts), n)
    expected = [(i, tuple(t.split()[k : k + n])) for i, t in enumerate(texts) for k in range(len(t.split()) - n + 1)]
    assert text.tolist() == [i for i, _ in expected]
    assert len(set(zip(hashes.tolist(), [run for _, run in expected], strict=True))) == len(
        {run for _, run in expected}
    )


def test_the_order_of_words_matters():
    hashes, _ = ngrams(hash_words(["a b", "b a"]), 2)
    assert hashes[0] != hashes[1]


def test_forms_number_texts_of_the_same_words():
    assert text_forms(hash_words(["What?", "No.", "what!", "", "..."])).tolist() == [0, 1, 0, 2, 2]


def test_selected_texts_keep_their_words():
    words = hash_words(["a b", "", "c"])
    chosen = select_texts(words, np.array([2, 1, 0]))
    assert chosen.offsets.tolist() == [0, 1, 1, 3]
    assert chosen.hashes.tolist() == [words.hashes[2], *words.hashes[:2]]


def test_shared_ngrams_leave_out_what_one_text_repeats():
    shared = shared_ngrams(hash_words(["a b a b", "c d", "d c d"]), 2)  # "a b" stands in one text only
    assert shared.text.tolist() == [1, 2]
    assert shared.sizes.tolist() == [2, 1, 2]


def test_of_many_words_each_that_two_texts_have_is_found():  # their hashes lie in every part of the range
    words = [f"w{i}" for i in range(2000)]
    shared = shared_ngrams(hash_words([" ".join(words), " ".join(words[1000:]), "alone"]), 1)
    assert (shared.kinds, np.diff(shared.starts).tolist(), shared.sizes.tolist()) == (
        1000,
        [1000, 1000, 0],
        [2000, 1000, 1],
    )
    assert np.array_equal(np.sort(shared.gram[:1000]), np.arange(1000))


@given(TEXTS, st.integers(1, 3), st.data())
def test_chosen_texts_share_what_they_share_alone(texts, n, data):
    chosen = np.array(data.draw(st.lists(st.sampled_from(range(len(texts))), unique=True)) if texts else [], np.int64)
    words = hash_words(texts)
    alone, found = shared_ngrams(select_texts(words, chosen), n), shared_ngrams(words, n, chosen)
    for name in ("gram", "text", "starts", "sizes", "kinds"):
        assert np.array_equal(getattr(alone, name), getattr(found, name))


def test_a_text_similar_only_to_a_dropped_one_stays():
    assert repeated(4, np.array([[0, 1], [1, 2], [2, 3]])).tolist() == [False, True, False, True]


@given(st.integers(2, 8).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.tuples(*[st.integers(0, n - 1)] * 2)))))
def test_no_two_kept_texts_are_similar(case):
    n, drawn = case
    pairs = sorted((a, b) for a, b in drawn if a < b)
    gone = repeated(n, np.array(pairs, dtype=np.int64).reshape(-1, 2))
    assert not any(not gone[a] and not gone[b] for a, b in pairs)
    assert all(any(b == i and not gone[a] for a, b in pairs) for i in np.flatnonzero(gone))
