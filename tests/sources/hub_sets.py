"""Small data sets with the layout of the real ones, as files that `tests.hub_server` serves."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow.parquet import write_table

from bench.corpus.hub_folder import CARD

ELI5, ELI5_COMMIT = "sentence-transformers/eli5", "6cb886f56790217e595dac58ee5f19aaaecb8b1f"
PREFERENCES = "HuggingFaceH4/stack-exchange-preferences"
PREFERENCES_COMMIT = "c7bda74048748f55749cd663c3d8d1025a841fd9"
OLDER_COMMIT = "90a8e71669982784c89bb699df4a8aa278f56136"  # before the sites' folders had their hosts' names


def write_rows(path: Path, rows: Sequence[dict[str, Any]], group_rows: int = 1000) -> None:
    """Write a parquet file of these rows, so many in each of its row groups."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_table(pyarrow.Table.from_pylist(list(rows)), path, row_group_size=group_rows)


def write_eli5(folder: Path, rows: Sequence[dict[str, Any]], group_rows: int = 1000) -> Path:
    """Write ELI5 as the hub keeps it, in one shard; its folder."""
    root = folder / f"{ELI5}@{ELI5_COMMIT}"
    write_rows(root / "pair" / "train-00000-of-00001.parquet", rows, group_rows)
    (root / "README.md").write_text(CARD, encoding="utf-8")
    return root


def thread(qid: int, host: str, **changes: Any) -> dict[str, Any]:
    """A row of Stack Exchange preferences."""
    answers = [
        {"answer_id": 10 * qid, "author": "ann", "author_id": 1, "author_profile": f"https://{host}/users/1"}
        | {"pm_score": score, "selected": score == 3, "text": f"<p>Answer {score} to {qid}.</p>"}
        for score in (1, 3)
    ]
    pages = [f"https://{host}/questions/{qid}", f"https://{host}", f"https://{host}/users/1/"]
    row = {
        "qid": qid,
        "metadata": pages,
        "answers": answers,
        "question": f"<p>Question {qid}?</p>",
        "date": "2016/08/02",
    }
    return row | changes


def write_preferences(folder: Path, sites: dict[str, int], shards: int = 2) -> Path:
    """Write Stack Exchange preferences as the hub keeps them, so many threads of each site; their folder."""
    root = folder / f"{PREFERENCES}@{PREFERENCES_COMMIT}"
    for host, n_threads in sites.items():
        rows = [thread(i, host) for i in range(n_threads)]
        size = -(-n_threads // shards)
        for shard in range(shards):
            name = f"train-{shard:05}-of-{shards:05}.parquet"
            write_rows(root / "data" / host / name, rows[shard * size : (shard + 1) * size])
    (root / "README.md").write_text("---\nlicense: cc-by-sa-4.0\n---\n", encoding="utf-8")
    return root
