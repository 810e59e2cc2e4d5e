"""Text as it was meant: mojibake, invisible characters and whitespace repaired; rules that a turn must pass.

Markup is no matter of this module: only the provider knows whether `List<i>` is a tag or what somebody wrote.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import dropwhile

import ftfy
import regex

from llm.dialogue import join_speaker_turns

MAX_MARKS = 30  # on one letter (Unicode Standard Annex 15, stream-safe text); ordering n of them takes n x n steps
MIN_WORDS_REPETITION = 10  # below it a repeated word is ordinary speech ("no, no, no")

_INVISIBLE = re.compile("[\x00-\x08\x0e-\x1f\x7f\xad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufffe]")
_LINE_BREAK = re.compile("\r\n|[\r\v\f\x85\u2028\u2029]")
_OTHER_SPACE = re.compile(r"[^\S\n\t ]")
_INNER_SPACES = re.compile(r"(?<=\S) {2,}")  # spaces that open a line are code's indentation
_MANY_MARKS = re.compile(rf"[^\w\s\x00-\x7f]{{{MAX_MARKS + 1},}}")  # what may be that: a mark is no part of \w
# What writing may leave out: apostrophes, Arabic's lengthening stroke and vowel signs, Hebrew's points.
_LEFT_OUT = re.compile("['\u2019\u0640\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc\u0591-\u05bd\u05bf\u05c1\u05c2]")
# Scripts that put no space between words; Korean and Arabic do. Their common signs (a lengthened vowel) count too.
_UNSPACED = r"[\p{Han}\p{scx=Hiragana}\p{scx=Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
_UNSPACED_START = regex.compile(_UNSPACED)
_HAN = regex.compile(r"\p{Han}")
# Of ASCII, each byte in lower case, or a space where it is no part of a word.
_ASCII_WORDS = bytes(ord(c.lower()) if (c := chr(i)).isalnum() or c == "_" else 32 for i in range(128)).ljust(256)
# No part of a word, and often all that keeps a text from being ASCII.
_QUOTES = re.compile("[\u2013\u2014\u2018\u201c\u201d\u2026]")
# The \w of `regex` holds vowel signs too: with that of `re` a Hindi word is several.
_WORD = regex.compile(rf"[{_UNSPACED}&&\w--\p{{M}}]\p{{M}}*|[\w--{_UNSPACED}--\p{{M}}][\w--{_UNSPACED}]*", regex.V1)
_FTFY = ftfy.TextFixerConfig(
    unescape_html=False,  # `&lt;` stands here where somebody wrote about it
    uncurl_quotes=False,
    fix_latin_ligatures=False,
    fix_character_width=False,
    normalization=None,  # done last: removing an invisible character can bring letter and accent together
)


def split_words(text: str) -> list[str]:
    """Words in lower case without punctuation, the form in which texts are compared; here alone is said what a word is.

    Where a script writes without spaces, each character is a word: what a reader takes for a word there no rule finds,
    and every language has its own tool. Full-width and presentation forms count as the plain ones (NFKC).

    >>> split_words("Don't  PANIC, it's 5 o'clock!")
    ['dont', 'panic', 'its', '5', 'oclock']
    >>> split_words("GPT\u306f\u8cc7\u6599\u3002")
    ['gpt', '\u306f', '\u8cc7', '\u6599']
    """
    plain = text if text.isascii() else _QUOTES.sub(" ", text.replace("\u2019", ""))
    if plain.isascii():
        return plain.encode().translate(_ASCII_WORDS, b"'").decode().split()
    return _WORD.findall(_LEFT_OUT.sub("", unicodedata.normalize("NFKC", text).casefold()))


def is_unspaced(word: str) -> bool:
    """Whether the word is one character of a script without spaces."""
    return not word.isascii() and _UNSPACED_START.match(word) is not None


def is_han(word: str) -> bool:
    """Whether the word begins with a Chinese character."""
    return _HAN.match(word) is not None


def tidy_whitespace(text: str) -> str:
    """The text with single spaces, at most one empty line in a row and nothing at its ends; indentation stays."""
    text = _LINE_BREAK.sub("\n", text)
    text = _OTHER_SPACE.sub(" ", text).replace("\t", "    ")
    text = _INNER_SPACES.sub(" ", text)
    text = re.sub(r"(?<! ) +(?=\n)", "", text)  # each run is looked at once
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def _with_fewer_marks(run: re.Match[str]) -> str:
    """The characters, of combining marks in a row the first `MAX_MARKS`."""
    kept, marks = [], 0
    for character in run[0]:
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks <= MAX_MARKS:
            kept.append(character)
    return "".join(kept)


def _is_tidy(text: str) -> bool:
    """Whether at most its ends need repair, as of most texts, told in a tenth of the time of a repair."""
    untidy = "  " in text or " \n" in text or "\n\n\n" in text
    return not untidy and text.isascii() and text.replace("\n", "").isprintable()


def normalise_text(text: str) -> str:
    """The repaired text, in Unicode form NFC; empty when nothing readable is left.

    >>> normalise_text("It is  a\\u200b fine cafÃ©\\t. ")
    'It is a fine café .'
    """
    if _is_tidy(text):
        return text.strip()
    if not text.isascii():  # ASCII holds no mojibake, and is most of the text
        text = _MANY_MARKS.sub(_with_fewer_marks, ftfy.fix_text(text, _FTFY))
    return unicodedata.normalize("NFC", tidy_whitespace(_INVISIBLE.sub("", text)))


def normalise_turns(turns: Iterable[str]) -> tuple[str, ...]:
    """Repaired turns, user first and alternating: an empty one goes and its neighbours, of one speaker, are joined.

    >>> normalise_turns(["Hi.", "\\u200b", "You there?", "Yes."])
    ('Hi.\\nYou there?', 'Yes.')
    """
    repaired = [("assistant" if i % 2 else "user", normalise_text(turn)) for i, turn in enumerate(turns)]
    messages = ((speaker, text) for speaker, text in repaired if text)
    return join_speaker_turns(dropwhile(lambda message: message[0] == "assistant", messages))  # answers to nothing


def repetition(text: str) -> float:
    """Share of the text's words that are its most frequent word; 0 for short texts.

    >>> repetition("no " * 9 + "yes")
    0.9
    """
    words = split_words(text)
    if len(words) < MIN_WORDS_REPETITION:
        return 0.0
    return max(Counter(words).values()) / len(words)


def broken_rule(texts: Sequence[str], max_turn_chars: int, max_repetition: float) -> str | None:
    """Name of the first rule that repaired texts of a dialogue break, None when they are fit to learn from."""
    if any(len(text) > max_turn_chars for text in texts):
        return "long_turn"
    if any(repetition(text) > max_repetition for text in texts):
        return "repetition"
    return None
