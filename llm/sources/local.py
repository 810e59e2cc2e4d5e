"""The user's own texts: conversations and documents in files of any known form, a folder of them, or a URL."""

import hashlib
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

from llm.dialogue import Dialogue
from llm.failures import without_secrets
from llm.fetching.download import HttpConfig, local_path, location_name
from llm.fetching.fetched import fetch_once
from llm.files import file_sha256
from llm.sources import Corpus, first_exchanges
from llm.sources.forms import FORMS, Conversation, Form, check_uses, conversations, plain_text, recognise
from llm.sources.local_files import ENDINGS, TEXT_ENDINGS, is_document, training_files
from llm.sources.local_rows import Report, file_rows, file_text, refuse
from llm.sources.masking import check_rules, mask_text
from llm.sources.sections import document_sections

DOCUMENT = Form("text", {})  # of a file that is one text
ROWS_SEEN = 100  # whose columns say which form a file has: a row may lack a key that others have
MAX_NOTED = 10

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LocalConfig:
    """Own texts."""

    location: str  # local path or URL of a file, or local path of a folder
    form: str | None  # of FORMS; None: recognised
    columns: dict[str, str] | None  # what a column is for, to its name: {prompt: q, reply: a, group: thread}
    licence: str  # as their owner states it; it goes into the data card
    mask: tuple[str, ...]  # rules of masking.py that are applied; (): the texts stay as they are

    def __post_init__(self) -> None:
        if self.form is not None and self.form not in FORMS:
            raise ValueError(f"form is {self.form}, allowed: {', '.join(FORMS)}, or null to recognise it")
        check_uses(self.columns or {})
        check_rules(self.mask)


@dataclass
class Found:
    """What was met while a location was read."""

    forms: dict[str, Form] = field(default_factory=dict)  # by file
    counts: Counter[str] = field(default_factory=Counter)
    left_out: list[str] = field(default_factory=list)  # the first rows, with place and reason

    def note(self, line: str) -> None:
        """Keep the line, of a row that is left out, while there are few."""
        if len(self.left_out) < MAX_NOTED:
            self.left_out.append(line)


def read_local(config: LocalConfig, source: str, limit: int, http: HttpConfig) -> Corpus:
    """The location's conversations and documents in order, as many whole ones as hold `limit` exchanges.

    Raises ValueError or OSError naming file and line of what cannot be read.
    """
    files, found = local_data(config, http), Found()
    dialogues = list(first_exchanges(local_dialogues(files, config, source, found), limit))
    for name, form in found.forms.items():
        logger.info("%s: %s has the form %s", source, name, form.name)
    counts = {name: count for name, count in found.counts.items() if count}
    told = ", ".join(f"{name.replace('_', ' ')}: {count:,}" for name, count in counts.items())
    if not dialogues:
        raise ValueError(f"{without_secrets(config.location)} holds no dialogue and no document ({told})")
    logger.info("%s: %s", source, told)
    return Corpus(dialogues, location_name(config.location), config.licence, data_sha256(files), counts=counts)


def local_data(config: LocalConfig, http: HttpConfig) -> dict[str, Path]:
    """The files that the location names, by their names below it; what a URL names is fetched first."""
    path = local_path(config.location) or fetch_once(config.location, None, http)
    files = training_files(path, ENDINGS + TEXT_ENDINGS)
    return {file.relative_to(path).as_posix() if path.is_dir() else file.name: file for file in files}


def data_sha256(files: Mapping[str, Path]) -> str:
    """Hash of the file, or of the names and hashes of several."""
    hashes = {name: file_sha256(file) for name, file in files.items()}
    if len(hashes) == 1:
        return next(iter(hashes.values()))
    lines = (f"{name} {sha256}\n" for name, sha256 in hashes.items())
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()


def local_dialogues(
    files: Mapping[str, Path], config: LocalConfig, source: str, found: Found, report: Report = refuse
) -> Iterator[Dialogue]:
    """Masked dialogues and sections of the files, one file after the other, read no further than asked for.

    Damaged lines are told to `report`, which may refuse them. Raises ValueError when a file fits no form, or when too
    many of its rows are unfit.
    """
    for name, file in files.items():
        form, said = _read_file(file, config, found, report)
        found.forms[name] = form
        for item in said:
            yield from _dialogues(item, form, f"{source}/{name}", source, config, found.counts)


def _read_file(file: Path, config: LocalConfig, found: Found, report: Report) -> tuple[Form, Iterable[Conversation]]:
    if is_document(file):
        text = file_text(file, report).strip()
        found.counts["rows"] += 1
        if not text:
            raise ValueError(f"{file.name} holds nothing but white space: fill it, or take it away")
        return DOCUMENT, [Conversation(f"{file.name}, line 1", {}, None, (text,))]
    damaged = ""

    def note(line: str) -> None:
        nonlocal damaged
        damaged = damaged or f" that are whole: {line}"
        report(line)

    rows = file_rows(file, note)
    first = list(islice(rows, ROWS_SEEN))
    columns = {column: None for _, row in first for column in row}
    if not first:
        raise ValueError(f"{file.name} has no rows{damaged}")
    try:
        form = recognise(columns, config.columns, config.form)
    except ValueError as error:
        raise ValueError(f"{file.name}: {error}") from error
    return form, conversations(chain(first, rows), form, found.counts, found.note)


def _dialogues(
    said: Conversation, form: Form, name: str, source: str, config: LocalConfig, counts: Counter[str]
) -> Iterator[Dialogue]:
    """The dialogue, or the sections of a document: `mine/own.jsonl:12`, `mine/book.txt#0001`; masked."""
    id = name if form is DOCUMENT else f"{name}:{said.place.rpartition(' ')[2]}"
    named = plain_text(said.row.get(form.columns["group"])) if "group" in form.columns else None
    group = f"{source}/{named}" if named else id
    turns = tuple(mask_text(turn, config.mask, counts) for turn in said.turns)
    if form.name == "text":
        yield from document_sections(turns[0], id, source, group)
        return
    system = mask_text(said.system, config.mask, counts) if said.system else None
    yield Dialogue(id, source, group, turns, system)
