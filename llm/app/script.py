"""The script of an episode: what each speaker says, in chapters; as a page, and read back from the page.

The page is the script: who changes a line of it hears the changed line.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

WORDS_PER_MINUTE = 150  # of somebody who reads aloud
CHAPTER = re.compile(r"## \d+\. (?P<title>.+?)(?: \(from about \d+:\d\d\))?$")
LINE = re.compile(r"\*\*(?P<speaker>[^*]+):\*\* (?P<text>.+)$")
NOTES = "## Show notes"


@dataclass(frozen=True)
class Line:
    """What one speaker says without a break."""

    speaker: str
    text: str

    @property
    def words(self) -> int:
        """How many words it has."""
        return len(self.text.split())


@dataclass(frozen=True)
class Chapter:
    """A part of the episode."""

    title: str
    lines: Sequence[Line]

    @property
    def words(self) -> int:
        """How many words are said in it."""
        return sum(line.words for line in self.lines)


@dataclass(frozen=True)
class Episode:
    """What is said, and what is written beside it."""

    title: str
    chapters: Sequence[Chapter]
    notes: Sequence[str] = ()  # Markdown; nobody says them

    @property
    def words(self) -> int:
        """How many words are said."""
        return sum(chapter.words for chapter in self.chapters)

    @property
    def speakers(self) -> list[str]:
        """Who speaks, in the order in which they are first heard."""
        return list(dict.fromkeys(line.speaker for chapter in self.chapters for line in chapter.lines))


def show_time(seconds: float) -> str:
    """Minutes and seconds.

    >>> show_time(75.4)
    '1:15'
    """
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def chapter_starts(episode: Episode) -> list[float]:
    """The second at which each chapter begins, by its words."""
    ends = accumulate(chapter.words for chapter in episode.chapters)
    return [words * 60 / WORDS_PER_MINUTE for words in [0, *ends][: len(episode.chapters)]]


def script_markdown(episode: Episode) -> str:
    """The episode as a page that `read_script` reads."""
    minutes = episode.words / WORDS_PER_MINUTE
    parts = [f"# {episode.title}", f"About {minutes:.1f} minutes, {episode.words} words."]
    for number, (chapter, start) in enumerate(zip(episode.chapters, chapter_starts(episode), strict=True), 1):
        parts.append(f"## {number}. {chapter.title} (from about {show_time(start)})")
        parts += [f"**{line.speaker}:** {line.text}" for line in chapter.lines]
    if episode.notes:
        parts += [NOTES, "\n".join(f"- {note}" for note in episode.notes)]
    return "\n\n".join(parts) + "\n"


def read_script(page: str) -> Episode:
    """The episode of a page; ValueError where nobody says anything on it."""
    title, chapters, spoken = "Episode", list[tuple[str, list[Line]]](), page.partition(f"\n{NOTES}\n")
    for row in spoken[0].splitlines():
        if row.startswith("# "):
            title = row.removeprefix("# ").strip()
        elif found := CHAPTER.match(row):
            chapters.append((found["title"], []))
        elif (found := LINE.match(row)) and chapters:
            chapters[-1][1].append(Line(found["speaker"], found["text"].strip()))
    heard = [Chapter(name, lines) for name, lines in chapters if lines]
    if not heard:
        raise ValueError(
            "the script has no line to speak: it needs `## 1. A chapter` and below it lines like `**Host:** Hello.`"
        )
    notes = [row.removeprefix("- ") for row in spoken[2].splitlines() if row.startswith("- ")]
    return Episode(title, heard, notes)
