import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.corpus import leak_check, near
from llm.corpus.dedup import blocks, hash_words, repeated, shared_ngrams, text_forms
from llm.corpus.leak_check import leaking
from llm.corpus.leaks import LeakRules, find_leaks, find_links, find_overlaps, list_exchanges
from llm.corpus.near import near_any, similar_forms, similar_pairs
from llm.corpus.split import join_groups
from llm.dialogue import Dialogue
from tests.growth import growth

TEXTS = st.lists(st.lists(st.sampled_from("abcd"), max_size=9).map(" ".join), max_size=12)
RULES = LeakRules(span=13, near_ngram=2, near=0.6, min_words=8)
LINEAR = 8  # n log n for four times as much is 4.4 at these sizes, quadratic 16


def runs(text, n):
    words = text.split()
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


def similarity(a, b, n=2):
    a, b = runs(a, n), runs(b, n)
    return len(a & b) / len(a | b) if a and b else 0.0


def similar_by_comparing_all(texts, n, threshold):
    return [
        (i, j) for i in range(len(texts)) for j in range(i + 1, len(texts))
        if similarity(texts[i], texts[j], n) >= threshold - 1e-9
    ]  # fmt: skip


@given(TEXTS, st.integers(1, 3), st.sampled_from([0.3, 0.5, 0.6, 0.8, 1.0]))
def test_similar_texts_are_exactly_those_found_by_comparing_all(texts, n, threshold):
    found = similar_pairs(shared_ngrams(hash_words(texts), n), threshold)
    assert [tuple(pair) for pair in found.tolist()] == similar_by_comparing_all(texts, n, threshold)


@pytest.mark.parametrize(("threshold", "found"), [(0.6, [[0, 1]]), (0.61, [])])
def test_the_threshold_itself_counts(threshold, found):  # {ab bc cd de} and {ab bc cd dx}: 3 of 5
    assert similar_pairs(shared_ngrams(hash_words(["a b c d e", "a b c d x"]), 2), threshold).tolist() == found


def test_short_texts_are_similar_to_nothing():
    words = hash_words(["yes I know that well", "yes, I know that - well", "yes I know that well enough"])
    form = text_forms(words)
    assert similar_forms(words, form, n=2, threshold=0.8, min_words=5).tolist() == [[0, 1]]
    assert similar_forms(words, form, n=2, threshold=0.8, min_words=6).tolist() == []


@given(TEXTS, st.integers(0, 12), st.sampled_from([0.3, 0.6, 0.8]))
def test_near_any_is_whether_one_of_the_others_is_similar(texts, cut, threshold):
    sets = shared_ngrams(hash_words(texts), 2)
    left, right = np.arange(len(texts))[:cut], np.arange(len(texts))[cut:]
    expected = [any(similarity(texts[i], texts[j]) >= threshold - 1e-9 for j in right) for i in left]
    assert near_any(sets, left, right, threshold).tolist() == expected


@given(
    st.lists(st.lists(st.sampled_from("abcdef"), min_size=3, max_size=9).map(" ".join), min_size=2, max_size=20),
    st.integers(1, 19), st.sampled_from([1, 2, 3]),
)  # fmt: skip
def test_what_shares_an_ngram_that_few_texts_have_is_never_missed(texts, cut, few):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near, "COMMON", few)
        patch.setattr(near, "FEW", 0)  # nothing but the exact part
        patch.setattr(leak_check, "RARE", few)
        rules = LeakRules(span=99, near_ngram=2, near=0.6, min_words=3)
        train = [Dialogue(f"d{i}", "eli5", f"g{i}", (text, "")) for i, text in enumerate(texts[:cut])]
        words = hash_words([turn for dialogue in train for turn in dialogue.turns] + texts[cut:])
        held = np.arange(len(words.counts)) >= 2 * len(train)
        exchanges = list_exchanges(train)
        found = find_leaks(find_overlaps(words, rules), exchanges, held)["leak_prompt"]
        by_gate = {train[i].id for i in exchanges.owner[found]}
        assert {line.split(" ")[0] for line in leaking(train, texts[cut:], rules)} <= by_gate
        near_held = (d.id for d in train if any(similarity(d.turns[0], text) >= 0.6 - 1e-9 for text in texts[cut:]))
        assert by_gate <= set(near_held)


@given(TEXTS, st.integers(1, 3))
def test_texts_in_blocks_share_what_they_share_in_one(texts, n):
    words = hash_words(texts)
    whole, forms = shared_ngrams(words, n), text_forms(words)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("llm.corpus.dedup.BLOCK", 5)
        assert sum(len(block.counts) for _, block in blocks(words)) == len(texts)
        parts = shared_ngrams(words, n)
        assert text_forms(words).tolist() == forms.tolist()
    for name in ("gram", "text", "sizes", "kinds"):
        assert np.array_equal(getattr(parts, name), getattr(whole, name))


def sentences(n, rng, template=0, slot=9, vocabulary=5000):
    """Texts that begin with the same words and go on with words of their own, common ones among them."""
    first = [f"template{i}" for i in range(template)]
    return [" ".join([*first, *(f"w{int(vocabulary ** rng.random())}" for _ in range(slot))]) for _ in range(n)]


FAMILIES = {
    "templates_all_alike": {"template": 12, "slot": 2},
    "templates_nearly_alike": {"template": 9, "slot": 5},  # bigrams: 8 of 18 to 20, .4 to .5
    "templates_of_long_texts": {"template": 20, "slot": 20},
    "ordinary": {},
    "few_words": {"vocabulary": 8},
}


@pytest.mark.parametrize("name", [*FAMILIES, "identical", "one_giant_dialogue"])
def test_four_times_as_many_texts_take_about_four_times_as_long(name):
    def make(n):
        texts = ["the same nine words in every single one again"] * n if name == "identical" else []
        texts = texts or sentences(n, random.Random(1), **FAMILIES.get(name, {}))
        if name == "one_giant_dialogue":
            return [Dialogue("d", "eli5", "g", tuple(texts))]
        return [Dialogue(f"d{i}", "eli5", f"g{i}", (text, text[::-1])) for i, text in enumerate(texts)]

    def gate(dialogues):
        words = hash_words(turn for dialogue in dialogues for turn in dialogue.turns)
        exchanges, overlaps = list_exchanges(dialogues), find_overlaps(words, RULES)
        links = find_links(overlaps, exchanges)
        join_groups([dialogue.group for dialogue in dialogues], links, 0.1)
        repeated(len(words.counts), similar_forms(words, text_forms(words), 2, 0.8, 8))
        find_leaks(overlaps, exchanges, np.arange(len(words.counts)) % 10 == 0)

    assert growth(gate, make, n=500) <= LINEAR


@pytest.mark.parametrize("name", FAMILIES)
def test_a_prompt_of_common_words_alone_is_found_too(name):
    """Where the exact part finds nothing, the first few texts are enough: recall was 1 wherever measured."""
    rng = random.Random(2)
    texts = sentences(800, rng, **FAMILIES[name])
    for text in texts[:200]:
        words = text.split()
        words[rng.randrange(len(words))] = "quite" if rng.random() < 0.5 else f"w{int(5000 ** rng.random())}"
        texts.append(" ".join(words))
    rng.shuffle(texts)
    sets = shared_ngrams(hash_words(texts), 2)
    assert sets.sizes.min() >= 2
    found = near_any(sets, np.arange(100, 1000), np.arange(100), 0.6)
    sought = [any(similarity(text, other) >= 0.6 - 1e-9 for other in texts[:100]) for text in texts[100:]]
    assert sum(sought) >= 20
    assert not (found & ~np.array(sought)).any()
    assert found.sum() >= 0.98 * sum(sought)
