"""What a model replied, as an episode quotes it: to the letter, shortened at sentence ends, a loop once."""

import re
from dataclasses import dataclass
from typing import Literal

from llm.corpus.normalise import split_words
from llm.failures import printable
from llm.judge.overlap import is_degenerate

Kind = Literal["silent", "unsure", "loop", "yes", "no", "open"]
MAX_WORDS = 26  # of a quote of more than one sentence: ten seconds
ONE_BREATH = 20  # words of a sentence that is said whole, whatever comes again in it
ROUND = 4  # words in a row that come again are a round of a loop
MORE = "…"
UNSURE = re.compile(r"I(?:'m| am) not (?:quite |really )?sure\b|I (?:don't|do not) know\b", re.IGNORECASE)


@dataclass(frozen=True)
class Quote:
    """A reply as it is heard."""

    text: str  # empty where there is no word to say
    kind: Kind
    loops: bool  # it says the same again and again; heard once

    @property
    def cut(self) -> bool:
        """Whether it breaks off inside a sentence, where a loop begins anew."""
        return self.text.endswith(MORE)


def quote(reply: str) -> Quote:
    """The reply as it is quoted.

    >>> quote("I am fine. I am fine. I am fine.")
    Quote(text='I am fine.', kind='loop', loops=True)
    """
    text = " ".join(printable(reply).split())
    if not split_words(text):
        return Quote("", "silent", False)
    heard, loops = heard_once(text), is_degenerate(reply)
    return Quote(heard, reply_kind(text, loops), loops)


def reply_kind(text: str, loops: bool) -> Kind:
    """What kind of reply it is: the first that holds of unsure, yes, no, loop; open is all else."""
    if UNSURE.match(text):
        return "unsure"
    first = split_words(text)[0]
    if first == "yes":
        return "yes"
    if first == "no":
        return "no"
    return "loop" if loops else "open"


def heard_once(text: str) -> str:
    """The first sentences, as many as are said in one go, up to the first that was said before."""
    found, seen = list[str](), set[str]()
    for sentence in re.split(r"(?<=[.!?])\s+", text):
        whole, said = sentence[-1] in ".!?\"'", " ".join(split_words(sentence))
        n_words = len(" ".join([*found, sentence]).split())
        if found and (not whole or said in seen or n_words > MAX_WORDS):
            break
        seen.add(said)
        found.append(first_round(sentence))
        if found[-1].endswith(MORE):
            break
    return " ".join(found)


def first_round(sentence: str) -> str:
    """The sentence, or one that is long up to where its words come again; what is too long ends at a word.

    >>> first_round("I was born in the sea and " * 5)
    'I was born in the sea and …'
    """
    words = sentence.split()
    if len(words) <= ONE_BREATH:
        return sentence
    seen = dict[tuple[str, ...], int]()
    for i in range(len(words) - ROUND + 1):
        run = tuple(words[i : i + ROUND])
        if run in seen:
            return " ".join(words[:i]) + f" {MORE}"
        seen[run] = i
    return sentence if len(words) <= 2 * MAX_WORDS else " ".join(words[: 2 * MAX_WORDS]) + f" {MORE}"
