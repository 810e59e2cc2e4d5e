"""ELI5: questions to Reddit's "Explain Like I'm Five" with an answer each (Fan et al. 2019)."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from tqdm import tqdm

from llm.dialogue import Dialogue
from llm.sources import Corpus
from llm.sources.forms import Form, conversations
from llm.sources.hub_rows import RowHash, checked_columns, hub_rows, local_files, local_rows
from llm.sources.local_files import PlacedRow
from llm.sources.plaintext import REMOVED, reddit_text, without_eli5

COLUMNS = ("question", "answer")
PAIRS = Form("pairs", {"prompt": "question", "reply": "answer"})
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
    found = local_rows(config.location, files) if files else hub_rows(config.location, config.revision, config.config)
    row_hash, counts = RowHash(), Counter[str]()
    rows = row_hash.watch(checked_columns(found.rows, COLUMNS, found.location), COLUMNS)
    usable = islice(_dialogues(rows, source, counts), limit)
    dialogues = list(tqdm(usable, total=limit, unit="question", desc="eli5", mininterval=1.0))
    return Corpus(dialogues, found.location, LICENCE, row_hash.hexdigest(), found.revision, dict(counts))


def _dialogues(rows: Iterable[PlacedRow], source: str, counts: Counter[str]) -> Iterator[Dialogue]:
    for said in conversations(rows, PAIRS, counts):
        asked, answered = said.turns
        # "[removed]" after a question marks a deleted explanation below the title: the question itself is whole.
        question = without_eli5(reddit_text(REMOVED.sub("", asked)))
        if REMOVED.search(answered):
            counts["answers_removed"] += 1
            continue
        answer = reddit_text(answered)
        if not question or not answer:
            counts["rows_without_text"] += 1
            continue
        cluster = hashlib.sha256(" ".join(question.lower().split()).encode()).hexdigest()[:16]
        yield Dialogue(f"{source}-{counts['rows'] - 1}", source, f"eli5-{cluster}", (question, answer))
