"""The report's own Markdown: its sections, lists, tables and numbers in prose."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from llm.evaluation.figure_files import UNSHOWN, show_number


@dataclass(frozen=True)
class Section:
    """A part of the report under a heading of its own."""

    title: str
    body: str  # Markdown
    folds: Sequence[tuple[str, str]] = ()  # titles and Markdown of what HTML folds; report.md names the files instead
    in_markdown: bool = True  # False: it depends on the machine, so it stands in HTML alone


def list_items(sentences: Sequence[str]) -> str:
    """The sentences, one an item."""
    return "\n".join(f"- {sentence}" for sentence in sentences)


def join_words(words: Sequence[str]) -> str:
    """A list in prose.  join_words(["a", "b", "c"]) == "a, b and c\""""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def percent(part: float) -> str:
    """A share as people write it.  percent(0.294) == '29 %'"""
    return f"{show_number(100 * part, 1 if 0 < part < 0.0995 else 0)} %"


def code_span(text: str) -> str:
    """The text as code, in one line: whatever it holds, it cannot end the code before its end.

    >>> code_span("0.01"), code_span("a ` b")
    ('`0.01`', '`` a ` b ``')
    """
    text = UNSHOWN.sub("\ufffd", " ".join(text.split()))
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence} {text} {fence}" if "`" in text else f"{fence}{text}{fence}"


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; what stands in a cell keeps its line and its column."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in row)} |" for row in lines
    )
