"""A long text cut into contiguous sections, at headings and paragraphs where there are some."""

import re
from collections.abc import Iterator

from llm.dialogue import Dialogue

# A book of 300,000 characters gives about 100 sections, enough to split three ways; one section fills several contexts.
SECTION_CHARS = 3000
MAX_SECTION_CHARS = 4000  # the presets' clean.max_turn_chars: `clean` drops what is longer
MIN_SECTION_CHARS = 1000  # a heading ends a section that is no shorter

_HEADING = re.compile(
    r"#{1,6} \S|(?:chapter|part|book|section|kapitel|chapitre|capítulo)\s+[\divxlc]+\b|第.{1,6}[章节回]", re.I
)
_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’)]?\s+|(?<=[。！？])")


def sections(text: str) -> list[str]:
    """The text in pieces of about SECTION_CHARS, none above MAX_SECTION_CHARS; only white space between them is lost.

    >>> sections("One.\\n\\nTwo.")
    ['One.\\n\\nTwo.']
    """
    done: list[str] = []
    now, first_joint = "", ""
    for joint, part in _parts(text):
        is_full = len(now) >= SECTION_CHARS or (len(now) >= MIN_SECTION_CHARS and _HEADING.match(part) is not None)
        if now and (is_full or len(now) + len(joint) + len(part) > MAX_SECTION_CHARS):
            done.append(now)
            now = ""
        if not now:
            first_joint = joint
        now += joint * bool(now) + part
    if done and len(now) < MIN_SECTION_CHARS and len(done[-1]) + len(first_joint) + len(now) <= MAX_SECTION_CHARS:
        done[-1] += first_joint + now
    elif now:
        done.append(now)
    return done


def document_sections(text: str, id: str, source: str, group: str) -> Iterator[Dialogue]:
    """A document as dialogues of a turn, one a section: `mine/book.txt#0001`, ..."""
    for number, section in enumerate(sections(text), 1):
        yield Dialogue(f"{id}#{number:04}", source, group, (section,), kind="document")


def _parts(text: str) -> Iterator[tuple[str, str]]:
    """Paragraphs, which empty lines separate, or pieces of a long one; each with what joins it to the part before."""
    lines: list[str] = []
    for line in [*text.splitlines(), ""]:
        if line.strip():
            lines.append(line.rstrip())
        elif lines:
            yield from _pieces("\n".join(lines))
            lines = []


def _pieces(paragraph: str) -> Iterator[tuple[str, str]]:
    """A paragraph as a whole or, above SECTION_CHARS, in pieces that end where a line, a sentence or a word does."""
    start, joint = 0, "\n\n"
    while len(paragraph) - start > SECTION_CHARS:
        window = paragraph[start : start + SECTION_CHARS]
        ends = [found.end() for found in _SENTENCE_END.finditer(window)]
        piece = window[: window.rfind("\n") + 1 or (ends[-1] if ends else 0) or window.rfind(" ") + 1 or SECTION_CHARS]
        if piece.strip():
            yield joint, piece.strip()
            joint = piece[len(piece.rstrip()) :]
        start += len(piece)
    if paragraph[start:].strip():
        yield joint, paragraph[start:].strip()
