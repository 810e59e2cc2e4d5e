"""Text as it was meant: mojibake, invisible characters and whitespace repaired; rules that a turn must pass.

Markup is no matter of this module: only the provider knows whether `List<i>` is a tag or what somebody wrote.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from itertools import dropwhile

import ftfy

from llm.dialogue import join_speaker_turns

MAX_MARKS = 30  # on one letter (Unicode Standard Annex 15, stream-safe text); ordering n of them takes n x n steps
MIN_WORDS_REPETITION = 10  # below it a repeated word is ordinary speech ("no, no, no")

_INVISIBLE = re.compile("[\x00-\x08\x0e-\x1f\x7f\xad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufffe]")
_LINE_BREAK = re.compile("\r\n|[\r\v\f\x85\u2028\u2029]")
_OTHER_SPACE = re.compile(r"[^\S\n\t ]")
_INNER_SPACES = re.compile(r"(?<=\S) {2,}")  # spaces that open a line are code's indentation
_MANY_MARKS = re.compile(rf"[^\w\s\x00-\x7f]{{{MAX_MARKS + 1},}}")  # what may be that: a mark is no part of \w
_WORD = re.compile(r"\w+")
_FTFY = ftfy.TextFixerConfig(
    unescape_html=False,  # `&lt;` stands here where somebody wrote about it
    uncurl_quotes=False,
    fix_latin_ligatures=False,
    fix_character_width=False,
    normalization=None,  # done last: removing an invisible character can bring letter and accent together
)


def split_words(text: str) -> list[str]:
    """Words in lower case without punctuation, the form in which texts are compared.

    >>> split_words("Don't  PANIC, it's 5 o'clock!")
    ['dont', 'panic', 'its', '5', 'oclock']
    """
    return _WORD.findall(text.casefold().replace("'", "").replace("’", ""))


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


def normalise_text(text: str) -> str:
    """The repaired text, in Unicode form NFC; empty when nothing readable is left.

    >>> normalise_text("It is  a\\u200b fine cafÃ©\\t. ")
    'It is a fine café .'
    """
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


def repetition(turn: str) -> float:
    """Share of the turn's words that are its most frequent word; 0 for short turns.

    >>> repetition("no " * 9 + "yes")
    0.9
    """
    words = split_words(turn)
    if len(words) < MIN_WORDS_REPETITION:
        return 0.0
    return Counter(words).most_common(1)[0][1] / len(words)


def broken_rule(turns: tuple[str, ...], max_turn_chars: int, max_repetition: float) -> str | None:
    """Name of the first rule that repaired turns break, None when they are fit to learn from."""
    if len(turns) < 2:
        return "empty"
    if any(len(turn) > max_turn_chars for turn in turns):
        return "long_turn"
    if any(repetition(turn) > max_repetition for turn in turns):
        return "repetition"
    return None
