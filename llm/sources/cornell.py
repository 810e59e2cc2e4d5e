"""The Cornell Movie-Dialogs Corpus: conversations of film characters (Danescu-Niculescu-Mizil & Lee 2011)."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from textwrap import shorten

from llm.dialogue import Dialogue, join_speaker_turns
from llm.fetching.download import HttpConfig, location_name
from llm.fetching.fetched import fetch_once
from llm.fetching.zips import read_zip
from llm.files import file_sha256
from llm.ranges import check_sha256
from llm.sources import Corpus
from llm.sources.plaintext import script_text

LINES, CONVERSATIONS = "movie_lines.txt", "movie_conversations.txt"
ENCODING = "cp1252"  # of the original; with latin-1 its dashes and quotes become control characters, UTF-8 fails
LICENCE = "none stated; research use (Danescu-Niculescu-Mizil & Lee 2011)"
_SEPARATOR = re.compile(r" \+\+\+\$\+\+\+ ?")  # an empty text may have lost the last space
_IDS = re.compile(r"\s*\[\s*(?:'\w+'[\s,]*)+\]\s*")


@dataclass(frozen=True)
class CornellConfig:
    """Where the corpus is."""

    location: str  # URL or local path of the zip
    sha256: str | None  # of the zip; None: not checked

    def __post_init__(self) -> None:
        check_sha256("sha256", self.sha256)


def read_cornell(config: CornellConfig, source: str, http: HttpConfig) -> Corpus:
    """Whole conversations of the corpus' zip; a film is a group.

    Film by film, in the order of their ids' hashes: a limit then draws films over the whole corpus, and a higher one
    only adds to them.
    """
    path = fetch_once(config.location, config.sha256, http)
    members = read_zip(path, (LINES, CONVERSATIONS))
    counts: Counter[str] = Counter()
    lines = parse_lines(members[LINES], counts)
    dialogues = sorted(_conversations(members[CONVERSATIONS], source, lines, counts), key=_film_hash)
    counts["films"] = len({dialogue.group for dialogue in dialogues})
    return Corpus(dialogues, location_name(config.location), LICENCE, file_sha256(path), counts=dict(counts))


def _film_hash(dialogue: Dialogue) -> bytes:
    return hashlib.sha256(dialogue.group.encode()).digest()


def parse_lines(content: bytes, counts: Counter[str]) -> dict[str, tuple[str, str]]:
    """Speaker and cleaned text of every line id; empty texts are left in and counted."""
    lines = {}
    for number, row in _rows(content, LINES, 5):
        text = script_text(row[4])
        counts["lines"] += 1
        counts["empty_lines"] += not text
        counts["undecodable_lines"] += "\ufffd" in text
        if row[0] in lines:
            raise ValueError(f"{LINES}, line {number}: {row[0]} occurs twice")
        lines[row[0]] = (row[1], text)
    return lines


def _conversations(
    content: bytes, source: str, lines: dict[str, tuple[str, str]], counts: Counter[str]
) -> Iterator[Dialogue]:
    for number, (_, _, film, listed) in _rows(content, CONVERSATIONS, 4):
        counts["rows"] += 1
        ids = _line_ids(listed, number)
        if any(id not in lines for id in ids):
            counts["conversations_with_unknown_lines"] += 1
            continue
        turns = join_speaker_turns((speaker, text) for speaker, text in (lines[id] for id in ids) if text)
        if len(turns) < 2:
            counts["conversations_of_one_turn"] += 1
            continue
        yield Dialogue(f"cornell-{ids[0]}", source, f"cornell-{film}", turns)


def _rows(content: bytes, name: str, n_fields: int) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of every line that is not empty."""
    for number, line in enumerate(_decode(content).split("\n"), 1):  # splitlines would break at control characters too
        line = line.removesuffix("\r")
        if not line:
            continue
        row = _SEPARATOR.split(line, maxsplit=n_fields - 1)
        if len(row) != n_fields:
            raise ValueError(f"{name}, line {number}: {len(row)} fields instead of {n_fields}; is this the corpus?")
        yield number, row


def _decode(content: bytes) -> str:
    """The text of the original or of a copy in UTF-8; what is neither gets the mark of undecodable characters."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode(ENCODING, errors="replace")


def _line_ids(listed: str, number: int) -> list[str]:
    """Line ids of a Python list: ['L194', 'L195']."""
    if not _IDS.fullmatch(listed):
        raise ValueError(f"{CONVERSATIONS}, line {number}: {shorten(listed, 80)!r} is not a list of line ids")
    return listed.split("'")[1::2]
