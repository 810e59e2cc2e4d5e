"""Quotes: to the letter, cut at sentence ends, loops once."""

import pytest

from llm.app.quote import MAX_WORDS, quote


def test_a_short_reply_is_quoted_whole():
    assert quote("I'm fine. Just a little nervous.").text == "I'm fine. Just a little nervous."


def test_a_long_reply_ends_at_a_sentence():
    text = " ".join(f"This is sentence number {i}." for i in range(20))
    found = quote(text).text
    assert text.startswith(found) and found.endswith(".") and len(found.split()) <= MAX_WORDS


def test_an_unfinished_last_sentence_is_left_out():
    assert quote("It is blue. And it is beca").text == "It is blue."


@pytest.mark.parametrize(
    ("reply", "heard"),
    [
        ("It is a kind of dance. It is a kind of dance.", "It is a kind of dance."),
        ("I was born in the sea and " * 8, "I was born in the sea and …"),
    ],
)
def test_a_loop_is_heard_once(reply, heard):
    found = quote(reply)
    assert (found.text, found.kind, found.loops) == (heard, "loop", True)


def test_a_sentence_without_end_is_cut_at_a_word():
    text = " ".join(f"word{i}" for i in range(200))
    found = quote(text).text
    assert found.endswith(" …") and text.startswith(found.removesuffix(" …"))


@pytest.mark.parametrize("reply", ["", "  \n", "...!"])
def test_a_reply_without_a_word_is_silence(reply):
    assert quote(reply).kind == "silent" and not quote(reply).text


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ("I'm not sure. I'm not sure. I'm not sure.", "unsure"),
        ("I don't know what that is.", "unsure"),
        ("Yes, it has.", "yes"),
        ("No. It has not.", "no"),
        ("Nobody knows.", "open"),
    ],
)
def test_the_kind_is_told_by_how_it_begins(reply, kind):
    assert quote(reply).kind == kind
