import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import llm.corpus.normalise
from llm.corpus.normalise import (
    broken_rule,
    normalise_text,
    normalise_turns,
    repetition,
    split_words,
    tidy_whitespace,
)
from tests.growth import growth


def test_words_are_lower_case_without_punctuation():
    assert split_words("Don't  PANIC, it’s 5 o'clock!") == ["dont", "panic", "its", "5", "oclock"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("GPT は資料、ﾃﾞｰﾀ。", ["gpt", "は", "資", "料", "デ", "ー", "タ"]),
        ("中文mixed混合 3月", ["中", "文", "mixed", "混", "合", "3", "月"]),
        ("สวัสดี", ["ส", "วั", "ส", "ดี"]),  # a vowel sign or tone mark stays with its letter
        ("한국어 입니다", ["한국어", "입니다"]),  # written with spaces
        ("हिन्दी नमस्ते", ["हिन्दी", "नमस्ते"]),
        ("العَرَبِيَّة العربيـــة", ["العربية", "العربية"]),  # vowel signs and the stroke are optional
        ("ＡＢＣ ﬁne", ["abc", "fine"]),
        ("´ ¨ a", ["a"]),
    ],
)
def test_words_of_other_scripts(text, words):
    assert split_words(text) == words


@given(st.text())
def test_words_hold_no_space_and_every_letter_of_the_text(text):
    words = split_words(text)
    assert all(word and not any(c.isspace() for c in word) for word in words)
    assert not any(c.isalpha() for c in text if c.isascii()) or words


TYPED = st.text(alphabet="aB9_ '’“”‘–—….,;\n\t\x1c\x85")


@given(TYPED | st.text(alphabet=[chr(i) for i in range(128)]))
def test_words_of_typed_text_are_those_of_the_same_text_among_other_letters(text):
    assert split_words(text + " é") == [*split_words(text), "é"]  # é leaves nothing to the short way


@given(st.text(alphabet="a \n") | st.text(alphabet="a. \n\t\r\x00\x0b\x1c\x7fé\xa0"))
@example("a \nb")
def test_a_text_tidy_at_a_glance_needs_no_repair(text):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(llm.corpus.normalise, "_is_tidy", lambda text: False)
        repaired = normalise_text(text)
    assert normalise_text(text) == repaired


def test_mojibake_is_repaired():
    assert normalise_text("a cafÃ© â€” and quotes â€œhereâ€\x9d") == "a café — and quotes “here”"


def test_cp1252_control_range_becomes_the_characters_meant():
    assert normalise_text("wait\x85 it\x92s late") == "wait… it’s late"


@pytest.mark.parametrize(
    "text",
    [
        "when x<a or y>b we reject",
        "List<i> and vector<int>",
        'soup.find("<a href=1>")',
        "&lt;b&gt; is how <b> is written",
        "a <br> in HTML",
        "<your name>",
        "R&D; AT&T &#39;",
    ],
)
def test_what_looks_like_markup_stays(text):
    assert normalise_text(text) == text


def test_a_letter_has_no_more_than_thirty_marks():
    assert normalise_text("e" + "\u0301\u0327" * 40) == unicodedata.normalize("NFC", "e" + "\u0301\u0327" * 15)
    assert normalise_text("🙂" * 40) == "🙂" * 40


def test_invisible_and_control_characters_go():
    assert normalise_text("a\u200bb\x00c\ufeffd\xade\u202ef") == "abcdef"


def test_a_joiner_inside_an_emoji_stays():
    assert normalise_text("👩\u200d💻") == "👩\u200d💻"


def test_letter_and_accent_are_composed_even_across_an_invisible_character():
    assert normalise_text("cafe\u0301 cafe\u200b\u0301") == "café café"


def test_a_lone_surrogate_becomes_writable():
    assert normalise_text("oh \ud83d dear").encode("utf-8") == "oh \ufffd dear".encode()


def test_spaces_are_single_and_indentation_stays():
    assert tidy_whitespace(" a\t b\u00a0  c \r\n\n\n\ndef f():\n\treturn  1 \n") == "a b c\n\ndef f():\n    return 1"


@given(st.text())
def test_tidying_twice_changes_nothing(text):
    once = tidy_whitespace(text)
    assert tidy_whitespace(once) == once


@given(st.text())
def test_normalised_text_is_composed_writable_and_trimmed(text):
    result = normalise_text(text)
    assert result.encode("utf-8") and unicodedata.is_normalized("NFC", result) if result else True
    assert result == result.strip()


@given(st.lists(st.from_regex(r"\A[A-Za-z0-9,.!?'()-]+\Z"), min_size=1).map(" ".join))
def test_plain_text_is_left_alone(text):
    assert normalise_text(text) == text


def test_an_empty_turn_goes_and_its_neighbours_are_joined():
    assert normalise_turns(["Hi.", "\u200b", "You there?", "Yes."]) == ("Hi.\nYou there?", "Yes.")


def test_a_dialogue_begins_with_the_user_after_its_first_turn_went():
    assert normalise_turns(["", "Fine.", "And you?", "Me too."]) == ("And you?", "Me too.")


def test_repetition_counts_only_turns_of_ten_words():
    assert repetition("no " * 9) == 0
    assert repetition("no " * 9 + "yes") == 0.9


@pytest.mark.parametrize(
    ("turns", "rule"),
    [
        (("hi", "x" * 101), "long_turn"),
        (("hi", "ha " * 20), "repetition"),
        (("hi", "x" * 100), None),
        (("hi", "a b c d e " * 2), None),
    ],
)
def test_the_first_broken_rule_is_named(turns, rule):
    assert broken_rule(turns, max_turn_chars=100, max_repetition=0.5) == rule


GROWING = {
    "indentation": lambda n: " " * n + "a",
    "blank lines": lambda n: " \n" * n + "a",
    "marks": lambda n: "a" + "\u0301\u0327" * n,
    "mojibake": lambda n: "Ã©â€" * n,
    "tags": lambda n: "<a " * n,
}


@pytest.mark.parametrize("make", GROWING.values(), ids=GROWING)
def test_the_time_grows_as_the_text_does(make):
    assert growth(normalise_text, make) <= 8


def test_the_time_grows_as_the_turns_do():
    assert growth(normalise_turns, lambda n: ["a" * 100, ""] * n) <= 8
    assert growth(normalise_turns, lambda n: ["", "a"] * n) <= 8
