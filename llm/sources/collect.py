"""Sources and their providers: which one is asked, in what order, and what is kept of it."""

import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from llm.dialogue import Dialogue, n_exchanges
from llm.fetching.download import HttpConfig, local_path
from llm.fetching.fetched import fetch_once
from llm.ranges import check_range
from llm.sources import Corpus
from llm.sources.chitchat import read_chitchat
from llm.sources.cornell import CornellConfig, read_cornell
from llm.sources.curated import CuratedConfig, read_curated
from llm.sources.docs import DocsConfig, read_docs
from llm.sources.eli5 import Eli5Config, read_eli5
from llm.sources.faults import explain
from llm.sources.hub import HubConfig, read_hub
from llm.sources.local import LocalConfig, read_local
from llm.sources.stackexchange import StackexchangeConfig, read_stackexchange

# Exchanges of a source: the most that clean is measured at (`python -m bench scale --full`). The stage download holds a
# source's dialogues in memory, 1.4 KB each of 100 words, and was run on 100,000 of a source.
MAX_LIMIT = 1_800_000
SOURCE_NAME = re.compile(r"[a-z0-9_]{1,40}")
TOGETHER = ("all", "macro")  # names of the figures of all sources, beside those of each
SECTIONS = {  # the providers with parameters
    "cornell": CornellConfig,
    "eli5": Eli5Config,
    "stackexchange": StackexchangeConfig,
    "docs": DocsConfig,
    "curated": CuratedConfig,
    "local": LocalConfig,
    "hub": HubConfig,
}
PROVIDERS = ("chitchat", *SECTIONS)

Provider = Callable[[], Corpus]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SourceConfig:
    """A source: who may serve it, and a section for each of these that has parameters."""

    providers: tuple[str, ...]  # tried in order; a+b serves both together
    fallback: bool  # go on with the next one when one fails
    limit: int  # exchanges at most
    cornell: CornellConfig | None = None  # None: not in params.yaml; this and all below
    eli5: Eli5Config | None = None
    stackexchange: StackexchangeConfig | None = None
    docs: DocsConfig | None = None
    curated: CuratedConfig | None = None
    local: LocalConfig | None = None
    hub: HubConfig | None = None

    def __post_init__(self) -> None:
        _check_providers(self.providers)
        check_range("limit", self.limit, 1, MAX_LIMIT)
        for name in _named(self.providers):
            if name in SECTIONS and getattr(self, name) is None:
                keys = ", ".join(field.name for field in fields(SECTIONS[name]))
                raise ValueError(f"{name} is missing: who names the provider gives its section, with the keys {keys}")


def check_sources(sources: Mapping[str, SourceConfig]) -> None:
    """Raise ValueError unless there is a source, all can be named so, and no two read the same."""
    if not sources:
        raise ValueError("download is empty, allowed: one source or more")
    if unfit := [name for name in sources if not SOURCE_NAME.fullmatch(name) or name in TOGETHER]:
        raise ValueError(
            f"download has the source {unfit[0]!r}, allowed: names of 1 to 40 lower-case letters, digits and _, "
            f"but not {' or '.join(TOGETHER)}"
        )
    readers: dict[object, str] = {}
    for name, config in sources.items():
        for provider in _named(config.providers if config.fallback else config.providers[:1]):
            if (other := readers.setdefault(_what_is_read(provider, config), name)) != name:
                raise ValueError(
                    f"download.{other} and download.{name} read the same of {provider}: take one of them out, or give "
                    "it another location"
                )


def _what_is_read(provider: str, config: SourceConfig) -> object:
    """What two sources read alike exactly if it is equal."""
    section = getattr(config, provider, None)
    told = asdict(section) if section else {}
    if location := told.get("location"):
        path = local_path(location)
        told["location"] = location if path is None else os.path.abspath(path)
    return provider, repr([(key, value) for key, value in told.items() if key not in ("licence", "mask", "sha256")])


def providers_of(source: str, config: SourceConfig, http: HttpConfig) -> dict[str, Provider]:
    """The providers that can serve a source: those without parameters, and those whose section is given."""
    found: dict[str, Provider] = {"chitchat": lambda: read_chitchat(source)}
    if cornell := config.cornell:
        found["cornell"] = lambda: read_cornell(cornell, source, http)
    if eli5 := config.eli5:
        found["eli5"] = lambda: read_eli5(eli5, source, config.limit)
    if stackexchange := config.stackexchange:
        found["stackexchange"] = lambda: read_stackexchange(stackexchange, source, config.limit)
    if docs := config.docs:
        found["docs"] = lambda: read_docs(docs, source)
    if curated := config.curated:
        found["curated"] = lambda: read_curated(fetch_once(curated.location, None, http), source)
    if local := config.local:
        found["local"] = lambda: read_local(local, source, config.limit, http)
    if hub := config.hub:
        found["hub"] = lambda: read_hub(hub, source, config.limit)
    return found


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
        except Exception as error:  # whatever a provider's libraries raise, the next one may serve
            reason = explain(error)
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
    adds dialogues. A group that the limit cuts, such as a film, is left out; where that would leave less than half,
    its beginning is kept. Raises ValueError when not even the first dialogue fits.
    """
    taken: list[Dialogue] = []
    exchanges = 0
    for dialogue in dialogues:
        exchanges += n_exchanges(dialogue)
        if exchanges > limit:
            taken = _whole_groups(taken, dialogue.group)
            break
        taken.append(dialogue)
    if not taken and exchanges:
        raise ValueError(f"limit {limit} is less than the first dialogue's {exchanges} exchanges; raise it")
    if not taken:
        raise ValueError("there are no dialogues in it")
    return taken


def _whole_groups(taken: list[Dialogue], cut: str) -> list[Dialogue]:
    """The dialogues without those of the group `cut` at their end, unless these are more than half of the exchanges."""
    n = len(taken)
    while n and taken[n - 1].group == cut:
        n -= 1
    is_most = 2 * sum(map(n_exchanges, taken[:n])) < sum(map(n_exchanges, taken))
    return taken if is_most else taken[:n]


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
        entry |= {"used_groups": len({dialogue.group for dialogue in used})}  # films, threads, conversations
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


def _named(providers: Sequence[str]) -> list[str]:
    return [name for entry in providers for name in entry.split("+")]


def _check_providers(providers: Sequence[str]) -> None:
    names = _named(providers)
    unknown = [name for name in names if name not in PROVIDERS]
    if not names or unknown or len(set(names)) < len(names):
        raise ValueError(
            f"providers is {list(providers)}, allowed: {', '.join(PROVIDERS)}, each once; a+b serves both together"
        )
