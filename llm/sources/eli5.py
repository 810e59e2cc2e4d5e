"""ELI5: questions to Reddit's "Explain Like I'm Five" with an answer each (Fan et al. 2019)."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from tqdm import tqdm

from llm.dialogue import Dialogue
from llm.download import location_name
from llm.sources import Corpus
from llm.sources.hub_rows import Row, RowHash, hub_rows, local_files, local_rows
from llm.sources.plaintext import REMOVED, reddit_text, without_eli5

COLUMNS = ("question", "answer")
LICENCE = "none stated; text by Reddit users"


@dataclass(frozen=True)
class Eli5Config:
    """Which copy of the data set is read."""

    location: str  # data set id, or local path of parquet or JSON lines files
    config: str
    revision: str


def read_eli5(config: Eli5Config, source: str, limit: int) -> Corpus:
    """The first `limit` usable question-answer pairs; rows that ask the same question are one group."""
    files = local_files(config.location)
    rows = local_rows(files, COLUMNS) if files else hub_rows(config.location, COLUMNS, config.revision, config.config)
    row_hash, counts = RowHash(), Counter[str]()
    usable = islice(_dialogues(row_hash.watch(rows, COLUMNS), source, counts), limit)
    dialogues = list(tqdm(usable, total=limit, unit="question", desc="eli5", mininterval=1.0))
    name, pinned = (location_name(config.location), None) if files else (config.location, config.revision)
    return Corpus(dialogues, name, LICENCE, row_hash.hexdigest(), pinned, dict(counts))


def _dialogues(rows: Iterable[Row], source: str, counts: Counter[str]) -> Iterator[Dialogue]:
    for number, row in enumerate(rows):
        counts["rows"] += 1
        # "[removed]" after a question marks a deleted explanation below the title: the question itself is whole.
        question = without_eli5(reddit_text(REMOVED.sub("", row["question"])))
        if REMOVED.search(row["answer"]):
            counts["answers_removed"] += 1
            continue
        answer = reddit_text(row["answer"])
        if not question or not answer:
            counts["rows_without_text"] += 1
            continue
        cluster = hashlib.sha256(" ".join(question.lower().split()).encode()).hexdigest()[:16]
        yield Dialogue(f"eli5-{number}", source, f"eli5-{cluster}", (question, answer))
