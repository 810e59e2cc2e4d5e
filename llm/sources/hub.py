"""Any data set of the Hugging Face hub whose rows have one of the known forms."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from tqdm import tqdm

from llm.dialogue import Dialogue, n_exchanges
from llm.sources import Corpus, first_exchanges
from llm.sources.forms import Form, check_uses, conversations, plain_text, recognise
from llm.sources.hub_rows import RowHash, hub_rows, local_files, local_rows
from llm.sources.local_files import PlacedRow
from llm.sources.sections import document_sections


@dataclass(frozen=True)
class HubConfig:
    """Which data set is read, what its columns are for, and what its licence is."""

    location: str  # data set id (owner/name), or local path of a copy
    config: str | None  # name of a part of the data set; None where it has no parts
    revision: str  # commit hash, branch or tag
    split: str
    columns: dict[str, str] | None  # what each is for (prompt, reply, messages, ...); None: recognised by name
    licence: str

    def __post_init__(self) -> None:
        check_uses(self.columns or {})


def read_hub(config: HubConfig, source: str, limit: int) -> Corpus:
    """Dialogues or documents of the first usable rows, as many as hold `limit` exchanges; a row is a group.

    Rows with the same value in the column named as `group` are one.
    """
    files = local_files(config.location, config.split)
    found = (
        local_rows(config.location, files)
        if files
        else hub_rows(config.location, config.revision, config.config, config.split)
    )
    first = next(found.rows, None)
    if first is None:
        raise ValueError(f"{found.location} has no rows")
    form = recognise(list(first[1]), config.columns)
    row_hash, counts = RowHash(), Counter[str]()
    rows = row_hash.watch(chain([first], found.rows), sorted(form.columns.values()))
    dialogues = _limited(_dialogues(rows, form, source, counts), limit)
    return Corpus(dialogues, found.location, config.licence, row_hash.hexdigest(), found.revision, dict(counts))


def _dialogues(rows: Iterable[PlacedRow], form: Form, source: str, counts: Counter[str]) -> Iterator[Dialogue]:
    for said in conversations(rows, form, counts):
        id = f"{source}-{counts['rows'] - 1}"
        named = plain_text(said.row.get(form.columns["group"])) if "group" in form.columns else None
        group = f"{source}-{named}" if named else id
        if form.name == "text":
            yield from document_sections(said.turns[0], id, source, group)
        else:
            yield Dialogue(id, source, group, said.turns, said.system)


def _limited(dialogues: Iterator[Dialogue], limit: int) -> list[Dialogue]:
    """The dialogues up to the one with which they hold `limit` exchanges or more."""
    taken: list[Dialogue] = []
    with tqdm(total=limit, unit="exchange", desc="hub", mininterval=1.0) as bar:
        for dialogue in first_exchanges(dialogues, limit):
            taken.append(dialogue)
            bar.update(n_exchanges(dialogue))
    return taken
