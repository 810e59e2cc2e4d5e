"""ELI5: questions to Reddit's "Explain Like I'm Five" with an answer each (Fan et al. 2019)."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice

from tqdm import tqdm

from llm.dialogue import Dialogue
from llm.download import location_name
from llm.sources import Corpus
from llm.sources.hub_rows import Row, RowHash, hub_rows, local_files, local_rows
from llm.sources.plaintext import REMOVED, reddit_text, without_eli5

COLUMNS = ("question", "answer")
LICENCE = "none stated; text by Reddit users"


def read_eli5(location: str, config: str, revision: str, limit: int) -> Corpus:
    """The first `limit` usable question-answer pairs; rows that ask the same question are one group."""
    files = local_files(location)
    rows = local_rows(files, COLUMNS) if files else hub_rows(location, COLUMNS, revision, config)
    row_hash, counts = RowHash(), Counter[str]()
    usable = islice(_dialogues(row_hash.watch(rows, COLUMNS), counts), limit)
    dialogues = list(tqdm(usable, total=limit, unit="question", desc="eli5", mininterval=1.0))
    name, pinned = (location_name(location), None) if files else (location, revision)
    return Corpus(dialogues, name, LICENCE, row_hash.hexdigest(), pinned, dict(counts))


def _dialogues(rows: Iterable[Row], counts: Counter[str]) -> Iterator[Dialogue]:
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
        yield Dialogue(f"eli5-{number}", "eli5", f"eli5-{cluster}", (question, answer))
