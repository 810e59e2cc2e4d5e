"""Encoding of much text: what the tokenizer makes of a word is looked up, since few words are new."""

import re
from collections.abc import Callable

import numpy as np

# GPT-2's split (Radford et al. 2019; `pre_tokenizers.ByteLevel`) for ASCII; its letters, digits and white space differ
# between Unicode versions, so other texts are left to the tokenizer, but for those that only quote with curls and dash.
WORD = re.compile(
    r" ?[A-Za-z]+|'(?:[stmd]|re|ve|ll)| ?[0-9]+| ?[^\t-\r A-Za-z0-9]+|[\t-\r ]+(?![^\t-\r ])|[\t-\r ]+",
)
QUOTES = re.compile("[\u2013\u2014\u2018\u2019\u201c\u201d\u2026]+")
MOST = 1_000_000  # words kept, about 100 MB


class WordTable(dict[str, bytes]):
    """Ids of words, 16 bits each, filled as words come; `encode` gives the ids of any text."""

    def __init__(self, encode: Callable[[str], list[int]]) -> None:
        super().__init__()
        self._encode = encode

    def __missing__(self, word: str) -> bytes:
        """Ids of a new word."""
        ids = np.array(self._encode(word), np.uint16).tobytes()
        if len(self) < MOST:
            self[word] = ids
        return ids

    def encode(self, text: str) -> bytes:
        """Ids of a text, 16 bits each: those that `encode` gives, in a third of its time."""
        if not text.isascii() and not QUOTES.sub("", text).isascii():
            return np.array(self._encode(text), np.uint16).tobytes()
        return b"".join(map(self.__getitem__, WORD.findall(text)))
