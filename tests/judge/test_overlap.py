import pytest

from llm.judge.overlap import best_f1, count_words, is_degenerate, repeated_ngrams, token_f1

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"


def test_token_f1_counts_a_repeated_word_once_for_each_time_the_reference_has_it():
    assert token_f1(count_words("no no no"), count_words("no way")) == pytest.approx(2 * 1 / (3 + 2))
    assert token_f1(count_words(""), count_words("")) == 0.0
    assert best_f1("no way", ["nothing", "No way!"]) == 1.0


def test_repeated_4grams_are_those_seen_before_in_the_same_text():
    assert repeated_ngrams(["a b c d a b c d"]) == 1 / 5  # abcd bcda cdab dabc abcd
    assert repeated_ngrams(["a b c d", "a b c d"]) == 0.0
    assert repeated_ngrams(["a b"]) == 0.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ("?!", True),
        ("no " * 12, True),
        ("it goes on and on " * 4, True),
        ("No.", False),
        (LONG, False),
        ("It is a kind of dance. It is a kind of", False),
        ("It is a kind of dance. It is a kind of dance.", True),
        ("Yes Yes Yes Yes Yes", True),
        ("No, no, no.", False),
        ("I know. I know.", False),
        ("ha ha ha ha ha ha", True),
    ],
)
def test_degenerate_texts(text, expected):
    assert is_degenerate(text) is expected
