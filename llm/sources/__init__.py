"""Where conversations come from: one module per provider, each giving a `Corpus`."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from llm.dialogue import Dialogue, n_exchanges


@dataclass(frozen=True)
class Corpus:
    """What one provider has: its dialogues in the provider's own order, and where they come from."""

    dialogues: list[Dialogue]
    location: str  # URL, package and version, hub id, or the name of a local file
    licence: str
    sha256: str  # of the file read, or of the rows where there are several
    revision: str | None = None  # of a hub data set
    counts: dict[str, int] = field(default_factory=dict)  # rows read, and rows left out or mended, by rule


def first_exchanges(dialogues: Iterable[Dialogue], limit: int) -> Iterator[Dialogue]:
    """Dialogues until they hold `limit` exchanges or more: no more is read than can be kept."""
    exchanges = 0
    for dialogue in dialogues:
        yield dialogue
        exchanges += n_exchanges(dialogue)
        if exchanges >= limit:
            return
