"""The hub data sets of the preset `coursework`, generated in their upstream forms, as many rows as the brief asks for.

`python -m bench.corpus.hub_folder FOLDER [ELI5_ROWS]` fills a folder, a few minutes and 150 MB, for `python -m
tests.hub_server FOLDER --port 8900`. With HF_ENDPOINT=http://127.0.0.1:8900 the stage download then reads them as from
the hub. ELI5_ROWS names a file of real rows (JSON lines: question, answer), which stand first. The same numbers give
the same rows.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import yaml
from pyarrow.parquet import ParquetWriter

from bench.corpus.generated import draw_dialogues

ELI5_ROWS = 52_000  # of which 50,000 are usable: some are removed, some have no text
SITES = {"ai": (4_000, 1), "datascience": (12_000, 1), "stats": (16_000, 2)}  # threads, files
GROUP_ROWS = 1000  # of a parquet file
CARD = """---
configs:
- config_name: pair
  data_files:
  - split: train
    path: pair/train-*
---
"""

Row = dict[str, Any]


def draw_pairs(n: int, source: str, seed: int) -> Iterator[tuple[str, str]]:
    """Questions with an answer, in generated words."""
    return ((d.turns[0], d.turns[1]) for d in draw_dialogues(n, source, seed))


def draw_eli5(n: int, seed: int = 2) -> Iterator[Row]:
    """Rows as Reddit wrote them: prefixes, links, entities, removed answers, questions asked again."""
    rng, before = np.random.default_rng(seed), "Why?"
    for question, answer in draw_pairs(n, "eli5", seed):
        kind = rng.random()
        if kind < 0.01:
            answer = "[removed]"
        elif kind < 0.1:
            answer = f"{answer} See [this page](_URL_0_) &amp; that one.\n\n\n\nEdit: thanks."
        asked = before if 0.1 < kind < 0.12 else f"{question[:-1]}?"
        yield {"question": f"ELI5: {asked}" if kind > 0.8 else asked, "answer": answer}
        before = asked


def draw_threads(site: str, n: int, seed: int) -> Iterator[Row]:
    """Threads of a site with two answers each in HTML, the second accepted or none."""
    rng, host = np.random.default_rng(seed), f"{site}.stackexchange.com"
    for qid, ((question, answer), (_, other)) in enumerate(
        zip(draw_pairs(n, site, seed), draw_pairs(n, site, seed + 100), strict=True), 1
    ):
        half = len(answer.split()) // 2
        head, tail = " ".join(answer.split()[:half]), " ".join(answer.split()[half:])
        texts = (
            f"<p>{other}</p>",
            f"<p>{head}</p>\n\n<ul>\n<li>{tail}</li>\n</ul>\n<pre><code>x = {qid}\n</code></pre>",
        )
        accepted = bool(rng.random() < 0.7)
        answers = [
            {"answer_id": 10 * qid + i, "author": "ann", "author_id": i, "author_profile": f"https://{host}/users/{i}"}
            | {"pm_score": 1 + i, "selected": accepted and i == 1, "text": text}
            for i, text in enumerate(texts)
        ]
        yield {
            "qid": qid,
            "metadata": [f"https://{host}/questions/{qid}", f"https://{host}", f"https://{host}/users/1/"],
            "answers": answers,
            "question": f"<p>{question} Given <code>f(x) &lt; {qid}</code>, why?</p>\n",
            "date": "2016/08/02",
        }


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write a parquet file, GROUP_ROWS rows at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = iter(rows)
    table = pyarrow.Table.from_pylist(list(islice(rows, GROUP_ROWS)))
    with ParquetWriter(path, table.schema) as writer:
        while len(table):
            writer.write_table(table)
            table = pyarrow.Table.from_pylist(list(islice(rows, GROUP_ROWS)), schema=table.schema)


def write_hub(folder: Path, download: dict[str, Any], real: Iterable[Row] = (), share: float = 1.0) -> None:
    """Write both data sets where the section `download` of params.yaml has them; of each a share of its rows."""
    eli5, exchange = download["eli5"]["eli5"], download["technical"]["stackexchange"]
    root = folder / f"{eli5['location']}@{eli5['revision']}"
    write_rows(root / "pair/train-00000-of-00001.parquet", chain(real, draw_eli5(round(share * ELI5_ROWS))))
    (root / "README.md").write_text(CARD, encoding="utf-8")
    root = folder / f"{exchange['location']}@{exchange['revision']}"
    for seed, (site, (n, shards)) in enumerate(SITES.items(), 3):
        threads, each = draw_threads(site, round(share * n), seed), -(-round(share * n) // shards)
        for shard in range(shards):
            name = f"train-{shard:05}-of-{shards:05}.parquet"
            write_rows(root / f"data/{site}.stackexchange.com" / name, islice(threads, each))
    (root / "README.md").write_text("---\nlicense: cc-by-sa-4.0\n---\n", encoding="utf-8")


if __name__ == "__main__":
    params = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    lines = Path(sys.argv[2]).read_text(encoding="utf-8").splitlines() if sys.argv[2:] else []
    write_hub(Path(sys.argv[1]), params["download"], map(json.loads, lines))
