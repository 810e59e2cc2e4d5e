"""The project's own question-answer sets: data/curated/*.jsonl, written for it by hand."""

from dataclasses import dataclass
from pathlib import Path

from llm.dialogue import Dialogue
from llm.files import file_sha256, parse_json, utf8_lines
from llm.sources import Corpus

LICENCE = "CC BY 4.0"


@dataclass(frozen=True)
class CuratedConfig:
    """Which of the sets is read."""

    location: str  # URL or local path


def read_curated(path: Path, source: str) -> Corpus:
    """All items of a file of {"id", "topic", "turns"} lines; each is its own group.

    Raises ValueError naming file and line of the first item that breaks the form.
    """
    dialogues: list[Dialogue] = []
    seen: dict[str, int] = {}
    for number, line in utf8_lines(path):
        if not line.strip():
            continue
        try:
            id, turns = _parse_item(line)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from error
        if id in seen:
            raise ValueError(f"{path}, line {number}: the id {id} stands in line {seen[id]} too")
        seen[id] = number
        dialogues.append(Dialogue(f"curated-{id}", source, f"curated-{id}", turns))
    name = path.name if path.is_absolute() else path.as_posix()
    return Corpus(dialogues, name, LICENCE, file_sha256(path), counts={"rows": len(dialogues)})


def _parse_item(line: str) -> tuple[str, tuple[str, ...]]:
    """Id and turns of one line."""
    item = parse_json(line)
    if not isinstance(item, dict) or set(item) != {"id", "topic", "turns"}:
        raise ValueError('an item is {"id", "topic", "turns"}, no more and no less')
    id, topic, turns = item["id"], item["topic"], item["turns"]
    if not isinstance(id, str) or not id or not isinstance(topic, str) or not topic:
        raise ValueError("id and topic are texts, not empty")
    if not isinstance(turns, list) or not all(isinstance(turn, str) and turn.strip() for turn in turns):
        raise ValueError(f"turns of {id} is a list of texts, none of them empty")
    if len(turns) < 2 or len(turns) % 2:
        raise ValueError(f"{id} has {len(turns)} turns; user and assistant alternate, the assistant comes last")
    return id, tuple(turns)
