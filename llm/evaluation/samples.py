"""What a person reads first: the same twenty prompts answered by every model, side by side."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Fixed, so that two runs can be read beside each other. Not test data: everyday ones may stand in the training data.
PROMPTS = (
    "Hi, how are you?",
    "What did you do at the weekend?",
    "Do you have any pets?",
    "What kind of music do you like?",
    "I had a really bad day.",
    "Where would you travel if you could go anywhere?",
    "What is a neural network?",
    "Why do computers need data to learn?",
    "How does a chatbot decide which word comes next?",
    "Can an AI have feelings?",
    "Why does a language model sometimes make things up?",
    "Why is the sky blue?",
    "How do vaccines work?",
    "What is the difference between a virus and a bacterium?",
    "What does the learning rate do during training?",
    "What is overfitting, and how do I notice it?",
    "Why do we split data into training and test sets?",
    "What does the attention mechanism in a transformer compute?",
    "Since AI understands every language perfectly, do we still need translators?",
    "Which year did the first robot become president?",
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


@dataclass(frozen=True)
class Sample:
    """A text of the test set, what really follows it, and what each model made of it."""

    source: str
    text: str
    real: str
    replies: Mapping[str, str]  # by model


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


def with_ellipsis(text: str, ended: bool) -> str:
    """The text, and an ellipsis behind it where it was cut.

    >>> with_ellipsis("It was a dark", False)
    'It was a dark …'
    """
    return text if ended else f"{text} …"


def samples_markdown(
    prompts: Sequence[str],
    models: Mapping[str, str],
    replies: Mapping[str, Sequence[str]],
    own: Sequence[Sample] = (),
    continued: Sequence[Sample] = (),
) -> str:
    """A Markdown page with a table of replies under each prompt; `models` maps a model to its real name.

    Before them stand prompts of the test set, and sections of documents that the models go on with, where there are
    any: who brings data of their own looks for them first.
    """
    lines = ["# Samples", "", "Greedy decoding; a reply that was cut at the cap ends in an ellipsis. Who answers:", ""]
    lines += [f"- **{name}**: {_cell(real)}" for name, real in models.items()]
    for heading, samples in (("Prompts of the test set", own), ("Documents of the test set, gone on with", continued)):
        lines += ["", f"## {heading}"] if samples else []
        for number, sample in enumerate(samples):
            answers = {name: sample.replies[name] for name in models if name in sample.replies}
            lines += ["", f"### {number + 1}. {sample.source}: {_cell(sample.text)}"]
            lines += _table({"*the real text*": sample.real, **answers})
    lines += ["", "## Prompts of the project, the same in every run"] if own or continued else []
    for number, prompt in enumerate(prompts):
        lines += ["", f"## {number + 1}. {_cell(prompt)}", *_table({name: replies[name][number] for name in models})]
    return "\n".join(lines) + "\n"


def _table(replies: Mapping[str, str]) -> list[str]:
    rows = [f"| {name} | {_cell(reply) or '*(nothing)*'} |" for name, reply in replies.items()]
    return ["", "| model | reply |", "|---|---|", *rows]


def _cell(text: str) -> str:
    """The text in one line, with nothing in it that Markdown would take for a table or markup.

    >>> _cell("a | b\\n<i>")
    'a \\\\| b &lt;i>'
    """
    text = " ".join(text.split()).replace("\\", "\\\\").replace("<", "&lt;")
    for mark in "|*_`[":
        text = text.replace(mark, "\\" + mark)
    return text
