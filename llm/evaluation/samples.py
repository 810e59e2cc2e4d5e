"""What samples.md is made from: the prompts that every model answers, and where texts of the data are cut."""

import re
from collections.abc import Mapping
from typing import Any

# Fixed, so that two runs can be read beside each other. Not test data: everyday ones may stand in the training data.
PROMPTS = (
    "Hi, how are you?",
    "I had a really bad day.",
    "Where would you travel if you could go anywhere?",
    "What is a neural network?",
    "How does a chatbot decide which word comes next?",
    "Can an AI have feelings?",
    "Why is the sky blue?",
    "How do vaccines work?",
    "What is overfitting, and how do I notice it?",
    "Since AI understands every language perfectly, do we still need translators?",
)
OPENING_CHARS = 200  # of a section of a document, which the models go on with
CONTINUED = 3  # sections of each source of documents
OWN = 5  # prompts of the test set, where the data are the user's own
OWN_PROVIDERS = ("local", "hub")  # of data that the fixed prompts may have nothing to do with


def own_sources(provenance: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Sources that hold the user's own data."""
    return {
        source
        for source, origin in provenance.items()
        if any(served["provider"] in OWN_PROVIDERS for served in origin["served"])
    }


def first_words(text: str, max_chars: int) -> str:
    """The beginning of a text of at most so many characters, cut at a word.

    >>> first_words("It was a dark and stormy night.", 15)
    'It was a dark'
    """
    if len(text) <= max_chars:
        return text
    spaces = [found.start() for found in re.finditer(r"\s+", text[: max_chars + 1])]
    return text[: (spaces and spaces[-1]) or max_chars]


def opening_of(text: str) -> str:
    """The first OPENING_CHARS characters of a text, or the first half of a short one, cut at a word."""
    return first_words(text, min(OPENING_CHARS, (len(text) + 1) // 2))
