"""Questions and answers of Stack Exchange sites, as in `HuggingFaceH4/stack-exchange-preferences`."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tqdm import tqdm

from llm.dialogue import Dialogue
from llm.sources import Corpus
from llm.sources.forms import UnfitRow, fit_rows, plain_text
from llm.sources.hub_rows import RowHash, Rows, checked_columns, hub_rows, local_files, local_rows
from llm.sources.local_files import PlacedRow, Row
from llm.sources.plaintext import html_text

COLUMNS = ("qid", "metadata", "question", "answers")
LICENCE = "CC BY-SA 4.0, text by Stack Exchange users"


@dataclass(frozen=True)
class StackexchangeConfig:
    """Which copy of the data set is read, and what of it."""

    location: str  # data set id, or local path of parquet or JSON lines files
    revision: str
    sites: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.sites:
            raise ValueError("sites is empty, allowed: names of Stack Exchange sites, such as stats")


@dataclass(frozen=True)
class Thread:
    """One question and its answers, as HTML."""

    host: str
    id: str
    question: str
    answers: Sequence[Row]


def read_stackexchange(config: StackexchangeConfig, source: str, limit: int) -> Corpus:
    """The first `limit` questions of the sites, one site after the other, each with one answer; a thread is a group."""
    hosts = [site if "." in site else f"{site}.stackexchange.com" for site in config.sites]
    found = _rows(config, hosts)
    row_hash, counts = RowHash(), Counter[str]()
    rows = row_hash.watch(checked_columns(found.rows, COLUMNS, found.location), COLUMNS)
    usable = islice(_dialogues(rows, source, hosts, counts), limit)
    dialogues = list(tqdm(usable, total=limit, unit="question", desc="stackexchange", mininterval=1.0))
    return Corpus(dialogues, found.location, LICENCE, row_hash.hexdigest(), found.revision, dict(counts))


def best_answer(answers: Sequence[Row]) -> Row | None:
    """The answer the asker accepted, else the one with most votes, of equals the first; None without any.

    `pm_score` is log2(1 + votes), rounded, and one more when accepted (Askell et al. 2021).
    """
    return max(answers, key=lambda answer: (bool(answer.get("selected")), _votes(answer)), default=None)


def thread_of(row: Row) -> Thread:
    """The thread of a row; raise UnfitRow when it has another structure."""
    pages = row.get("metadata")
    if not isinstance(pages, list) or not pages or not isinstance(pages[0], str):
        raise UnfitRow("rows_of_other_types", "its metadata is no list that starts with the question's address")
    id, question = plain_text(row.get("qid")), plain_text(row.get("question"))
    if not id or question is None:
        raise UnfitRow("rows_of_other_types", f"its {'question' if id else 'qid'} is missing or no text")
    try:
        host = urlsplit(pages[0]).netloc
    except ValueError as error:
        raise UnfitRow("rows_of_other_types", f"its question's address is none ({error})") from error
    answers = row.get("answers")
    if not isinstance(answers, list) or not all(isinstance(answer, Mapping) for answer in answers):
        raise UnfitRow("rows_of_other_types", "its answers are no list of objects")
    return Thread(host, id, question, answers)


def _rows(config: StackexchangeConfig, hosts: Sequence[str]) -> Rows:
    """Rows of the hosts' files alone where folders are named after hosts, as the hub's are."""
    files = local_files(config.location)
    if not files:
        return hub_rows(config.location, config.revision, folders=[f"data/{host}" for host in hosts])
    return local_rows(config.location, [file for host in hosts for file in _of_host(files, host)] or files)


def _of_host(files: Sequence[Path], host: str) -> list[Path]:
    return [file for file in files if host in file.parts]


def _votes(answer: Row) -> float:
    votes: Any = answer.get("pm_score")
    return votes if isinstance(votes, int | float) else -1.0


def _dialogues(
    rows: Iterable[PlacedRow], source: str, hosts: Sequence[str], counts: Counter[str]
) -> Iterator[Dialogue]:
    seen: set[str] = set()
    for _, _, thread in fit_rows(rows, thread_of, counts):
        if thread.host not in hosts:
            counts["rows_of_other_sites"] += 1
            continue
        id = f"stackexchange-{thread.host.removesuffix('.stackexchange.com')}-{thread.id}"
        if id in seen:
            counts["repeated_questions"] += 1
            continue
        seen.add(id)
        turns = _turns(thread, counts)
        if turns:
            yield Dialogue(id, source, id, turns)


def _turns(thread: Thread, counts: Counter[str]) -> tuple[str, str] | None:
    """Question and best answer as plain text; None, counted, without them."""
    answer = best_answer(thread.answers)
    question_text = html_text(thread.question)
    answer_text = html_text(plain_text(answer.get("text")) or "") if answer else ""
    if not question_text or not answer_text:
        counts["rows_without_text"] += 1
        return None
    return question_text, answer_text
