"""Words that two texts have in common, and words that one text says again and again.

Words are those of `split_words`: lower case, no punctuation.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from llm.corpus.normalise import repetition, split_words

MAX_REPETITION = 0.5  # share of a text's words that are one word, or of its 4-grams seen before in it
LOOP_WORDS = 5  # "No, no" and "very, very, very" are said by people; five words are a loop
REPEATED_LENGTH = 4  # words of the n-grams whose repetition is counted


def token_f1(words: Counter[str], others: Counter[str]) -> float:
    """Harmonic mean of the shares of words that two texts have in common (Rajpurkar et al. 2016).

    >>> token_f1(count_words("The cat sat"), count_words("a cat sat down"))  # 2 of 3 and 2 of 4 words
    0.5714285714285714
    """
    shared = (words & others).total()
    return 2 * shared / (words.total() + others.total()) if shared else 0.0


def count_words(text: str) -> Counter[str]:
    """How often the text has each word."""
    return Counter(split_words(text))


def best_f1(text: str, references: Iterable[str]) -> float:
    """Token F1 with the reference that is most like the text."""
    words = count_words(text)
    return max(token_f1(words, count_words(reference)) for reference in references)


def word_ngrams(words: Sequence[str], n: int) -> Iterator[tuple[str, ...]]:
    """Every run of n words."""
    return zip(*(words[i:] for i in range(n)), strict=False)


def repeated_ngrams(texts: Iterable[str], n: int = REPEATED_LENGTH) -> float:
    """Share of the n-grams that stood before in the same text (Welleck et al. 2020, seq-rep-4); 0 if there are none."""
    total = kinds = 0
    for text in texts:
        found = list(word_ngrams(split_words(text), n))
        total += len(found)
        kinds += len(set(found))
    return (total - kinds) / total if total else 0.0


def is_loop(text: str) -> bool:
    """Whether the text ends in words that stood right before: a whole round again, LOOP_WORDS words or more in all.

    >>> is_loop("It is a kind of dance. It is a kind of dance."), is_loop("Yes Yes Yes Yes Yes"), is_loop("No, no.")
    (True, True, False)
    """
    words = split_words(text)
    for period in range(1, len(words) // 2 + 1):
        again = 0
        while again + period < len(words) and words[-1 - again] == words[-1 - again - period]:
            again += 1
        if again + period >= max(2 * period, LOOP_WORDS):
            return True
    return False


def is_degenerate(text: str) -> bool:
    """Whether a text is no reply: it has no word, ends in a loop, or says little but the same again."""
    words = split_words(text)
    return not words or repetition(text) > MAX_REPETITION or repeated_ngrams([text]) > MAX_REPETITION or is_loop(text)
