"""Where conversations come from: one module per provider, each giving a `Corpus`."""

from dataclasses import dataclass, field

from llm.dialogue import Dialogue


@dataclass(frozen=True)
class Corpus:
    """What one provider has: its dialogues in the provider's own order, and where they come from."""

    dialogues: list[Dialogue]
    location: str  # URL, package and version, hub id, or the name of a local file
    licence: str
    sha256: str  # of the file read, or of the rows where there are several
    revision: str | None = None  # of a hub data set
    counts: dict[str, int] = field(default_factory=dict)  # rows read, and rows left out or mended, by rule
