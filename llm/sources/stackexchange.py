"""Questions and answers of Stack Exchange sites, as in `HuggingFaceH4/stack-exchange-preferences`."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from urllib.parse import urlsplit

from tqdm import tqdm

from llm.dialogue import Dialogue
from llm.download import location_name
from llm.sources import Corpus
from llm.sources.hub_rows import Row, RowHash, hub_rows, local_files, local_rows
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


def read_stackexchange(config: StackexchangeConfig, source: str, limit: int) -> Corpus:
    """The first `limit` questions of the sites, one site after the other, each with one answer; a thread is a group."""
    hosts = [site if "." in site else f"{site}.stackexchange.com" for site in config.sites]
    files = local_files(config.location)
    if files:
        rows = local_rows(files, COLUMNS)
    else:
        rows = chain.from_iterable(
            hub_rows(config.location, COLUMNS, config.revision, folder=f"data/{host}") for host in hosts
        )
    row_hash, counts = RowHash(), Counter[str]()
    usable = islice(_dialogues(row_hash.watch(rows, COLUMNS), source, hosts, counts), limit)
    dialogues = list(tqdm(usable, total=limit, unit="question", desc="stackexchange", mininterval=1.0))
    name, pinned = (location_name(config.location), None) if files else (config.location, config.revision)
    return Corpus(dialogues, name, LICENCE, row_hash.hexdigest(), pinned, dict(counts))


def best_answer(answers: Sequence[Row]) -> Row | None:
    """The answer the asker accepted, else the one with most votes, of equals the first; None without any.

    `pm_score` is log2(1 + votes), rounded, and one more when accepted (Askell et al. 2021).
    """
    return max(answers, key=lambda answer: (bool(answer["selected"]), answer["pm_score"]), default=None)


def _dialogues(rows: Iterable[Row], source: str, hosts: Sequence[str], counts: Counter[str]) -> Iterator[Dialogue]:
    for row in rows:
        counts["rows"] += 1
        host = urlsplit(row["metadata"][0]).netloc
        if host not in hosts:
            counts["rows_of_other_sites"] += 1
            continue
        answer = best_answer(row["answers"])
        question_text = html_text(row["question"])
        answer_text = html_text(answer["text"]) if answer else ""
        if not question_text or not answer_text:
            counts["rows_without_text"] += 1
            continue
        id = f"stackexchange-{host.removesuffix('.stackexchange.com')}-{row['qid']}"
        yield Dialogue(id, source, id, (question_text, answer_text))
