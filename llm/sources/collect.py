"""The three sources and their providers: which one is asked, in what order, and what is kept of it."""

import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llm.dialogue import Dialogue, n_exchanges
from llm.download import HttpConfig
from llm.ranges import check_range
from llm.sources import Corpus
from llm.sources.chitchat import read_chitchat
from llm.sources.cornell import read_cornell
from llm.sources.curated import read_curated
from llm.sources.docs import read_docs
from llm.sources.eli5 import read_eli5
from llm.sources.stackexchange import read_stackexchange

MAX_LIMIT = 2_000_000  # exchanges of a source; 1.8 million is the most that was run (`python -m bench scale --full`)

Provider = Callable[[], Corpus]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DialogueConfig:
    """Conversations of people."""

    providers: tuple[str, ...]  # tried in order; a+b serves both together
    fallback: bool  # go on with the next one when one fails
    limit: int  # exchanges at most
    cornell_location: str  # URL or local path of the zip
    cornell_sha256: str | None  # of the zip; None: not checked

    def __post_init__(self) -> None:
        _check_providers(self.providers, ("cornell", "chitchat"))
        check_range("limit", self.limit, 1, MAX_LIMIT)
        _check_sha256("cornell_sha256", self.cornell_sha256)


@dataclass(frozen=True)
class Eli5Config:
    """Everyday questions with an explanation."""

    providers: tuple[str, ...]
    fallback: bool
    limit: int
    huggingface_location: str  # data set id, or local path of parquet or JSON lines files
    huggingface_config: str
    huggingface_revision: str

    def __post_init__(self) -> None:
        _check_providers(self.providers, ("huggingface", "curated"))
        check_range("limit", self.limit, 1, MAX_LIMIT)


@dataclass(frozen=True)
class TechnicalConfig:
    """Questions and answers about machine learning."""

    providers: tuple[str, ...]
    fallback: bool
    limit: int
    stackexchange_location: str  # data set id, or local path of parquet or JSON lines files
    stackexchange_revision: str
    stackexchange_sites: tuple[str, ...]
    docs_sha256: str | None  # of the corpus; None: not checked

    def __post_init__(self) -> None:
        _check_providers(self.providers, ("stackexchange", "docs", "curated"))
        check_range("limit", self.limit, 1, MAX_LIMIT)
        if not self.stackexchange_sites:
            raise ValueError("stackexchange_sites is empty, allowed: names of Stack Exchange sites, such as stats")
        _check_sha256("docs_sha256", self.docs_sha256)


def dialogue_providers(config: DialogueConfig, http: HttpConfig) -> dict[str, Provider]:
    """Providers of the source `dialogue`."""
    return {
        "cornell": lambda: read_cornell(config.cornell_location, config.cornell_sha256, http),
        "chitchat": read_chitchat,
    }


def eli5_providers(config: Eli5Config, curated: Path) -> dict[str, Provider]:
    """Providers of the source `eli5`; `curated` is the project's own file."""
    return {
        "huggingface": lambda: read_eli5(
            config.huggingface_location, config.huggingface_config, config.huggingface_revision, config.limit
        ),
        "curated": lambda: read_curated(curated, "eli5"),
    }


def technical_providers(config: TechnicalConfig, curated: Path) -> dict[str, Provider]:
    """Providers of the source `technical`; `curated` is the project's own file."""
    return {
        "stackexchange": lambda: read_stackexchange(
            config.stackexchange_location, config.stackexchange_revision, config.stackexchange_sites, config.limit
        ),
        "docs": lambda: read_docs(config.docs_sha256),
        "curated": lambda: read_curated(curated, "technical"),
    }


@dataclass(frozen=True)
class Collected:
    """A source's dialogues and where they come from, ready to be written down as JSON."""

    dialogues: list[Dialogue]
    provenance: dict[str, Any]


def collect(
    source: str, providers: Mapping[str, Provider], order: Sequence[str], fallback: bool, limit: int
) -> Collected:
    """The dialogues of the first entry of `order` that can be served, at most `limit` exchanges of them.

    Without `fallback` only the first entry is tried. Raises ValueError naming what failed and what to do.
    """
    failed: list[dict[str, str]] = []
    for position, entry in enumerate(order):
        try:
            corpora = {name: providers[name]() for name in entry.split("+")}
            dialogues = take(interleave([corpus.dialogues for corpus in corpora.values()]), limit)
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            following = order[position + 1 :]
            if not following or not fallback:
                advice = f"; or go on with {following[0]} by fallback: true" if following else ""
                raise ValueError(f"{source}: {entry} failed: {reason}{advice}") from error
            logger.warning("%s: %s failed: %s; going on with %s", source, entry, reason, following[0])
            failed.append({"provider": entry, "reason": reason})
            continue
        return Collected(dialogues, _provenance(source, limit, corpora, dialogues, failed))
    raise ValueError(f"{source}: no provider is named")


def interleave(groups: Sequence[Sequence[Dialogue]]) -> Iterable[Dialogue]:
    """All dialogues, always one of the group with the fewest exchanges so far: a limit meets all groups alike."""
    positions, exchanges = [0] * len(groups), [0] * len(groups)
    while left := [i for i, group in enumerate(groups) if positions[i] < len(group)]:
        i = min(left, key=lambda i: exchanges[i])
        dialogue = groups[i][positions[i]]
        positions[i] += 1
        exchanges[i] += n_exchanges(dialogue)
        yield dialogue


def take(dialogues: Iterable[Dialogue], limit: int) -> list[Dialogue]:
    """The longest run of whole dialogues from the start that has at most `limit` exchanges.

    The provider's order, not a shuffle: a hub data set is then read no further than needed, and a higher limit only
    adds dialogues. Raises ValueError when not even the first one fits.
    """
    taken: list[Dialogue] = []
    exchanges = 0
    for dialogue in dialogues:
        exchanges += n_exchanges(dialogue)
        if exchanges > limit:
            break
        taken.append(dialogue)
    if not taken and exchanges:
        raise ValueError(f"limit {limit} is less than the first dialogue's {exchanges} exchanges; raise it")
    if not taken:
        raise ValueError("there are no dialogues in it")
    return taken


def _provenance(
    source: str,
    limit: int,
    corpora: Mapping[str, Corpus],
    dialogues: Sequence[Dialogue],
    failed: list[dict[str, str]],
) -> dict[str, Any]:
    """Who served what. `dialogues` of a provider counts those it had, `used` those within the limit."""
    kept = {dialogue.id for dialogue in dialogues}
    served = []
    for name, corpus in corpora.items():
        used = [dialogue for dialogue in corpus.dialogues if dialogue.id in kept]
        entry = asdict(corpus) | {"provider": name, "dialogues": len(corpus.dialogues), "used": len(used)}
        served.append(entry | {"exchanges": sum(map(n_exchanges, used)), "rows": corpus.counts.get("rows", 0)})
    total = sum(map(n_exchanges, dialogues))
    return {
        "source": source,
        "limit": limit,
        "dialogues": len(dialogues),
        "exchanges": total,
        "served": served,
        "failed": failed,
    }


def _check_providers(providers: Sequence[str], known: Sequence[str]) -> None:
    names = [name for entry in providers for name in entry.split("+")]
    unknown = [name for name in names if name not in known]
    if not names or unknown or len(set(names)) < len(names):
        raise ValueError(
            f"providers is {list(providers)}, allowed: {', '.join(known)}, each once; a+b serves both together"
        )


def _check_sha256(name: str, value: str | None) -> None:
    if value is not None and not re.fullmatch(r"[0-9a-f]{64}", value):
        raise ValueError(f"{name} is {value}, allowed: 64 hexadecimal digits in lower case, or null")
