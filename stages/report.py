"""Stage report: what was measured -> metrics/results.md, samples.md and data_card.md, to be read and committed.

A stage of its own: DVC caches the results of evaluate only where none of its outputs is a page that git tracks.
"""

import json
import logging
from collections import Counter
from pathlib import Path
from typing import Any

from llm.evaluation.data_card import data_card
from llm.evaluation.result_table import MODELS, own_data_note, result_table
from llm.evaluation.samples import PROMPTS, Sample, own_sources, samples_markdown, with_ellipsis
from llm.files import write_bytes
from llm.runs.output_rows import read_output_rows
from stages.logs import run_stage

DETAIL, PREDICTIONS = Path("metrics/detail"), Path("metrics/predictions.jsonl")
DATA, SCORES = Path("metrics/data.json"), Path("metrics/scores.jsonl")
RESULTS, SAMPLES, CARD = Path("metrics/results.md"), Path("metrics/samples.md"), Path("metrics/data_card.md")
SHOWN = ("mistral", "base", "scratch", "retrieval", "untrained")  # `frequent` would say the same twenty times

logger = logging.getLogger(__name__)


def read_detail(name: str) -> dict[str, Any]:
    """The content of one file of metrics/detail."""
    return json.loads((DETAIL / f"{name}.json").read_text(encoding="utf-8"))


def samples_page(details: dict[str, dict[str, Any]]) -> str:
    """Prompts with the replies of the models SHOWN side by side, as Markdown."""
    rows = {name: kinds["shown"] for name, kinds in read_output_rows(PREDICTIONS).items() if "shown" in kinds}
    names = {name: details[name]["name"] for name in SHOWN if name in rows}
    replies = {name: [with_ellipsis(row["text"], row["ended"]) for row in rows[name]] for name in names}
    own, continued = read_samples("own", "greedy"), read_samples("continued", "continued")
    return samples_markdown(PROMPTS, names, replies, own, continued)


def read_samples(section: str, kind: str) -> list[Sample]:
    """Texts of the test set with what the models made of them, their rows of that kind."""
    rows = {
        name: {row["id"]: with_ellipsis(row["text"], row["ended"]) for row in kinds.get(kind, [])}
        for name, kinds in read_output_rows(PREDICTIONS).items()
    }
    return [
        Sample(
            one["source"],
            one["text"],
            one["real"],
            {name: texts[one["id"]] for name, texts in rows.items() if one["id"] in texts},
        )
        for one in read_detail("samples")[section]
    ]


def evaluated_bytes() -> dict[str, int]:
    """Bytes of the scored replies by source: the same of every model."""
    replies = next(kinds["reply"] for kinds in read_output_rows(SCORES).values() if "reply" in kinds)
    found = Counter[str]()
    for row in replies:
        found[row["source"]] += row["bytes"]
    return dict(found)


def main() -> None:
    """Write the pages."""
    details = {name: read_detail(name) for name in MODELS}
    data = json.loads(DATA.read_text(encoding="utf-8"))
    pages = {
        RESULTS: result_table(details, read_detail("compare"))
        + own_data_note(data["provenance"], own_sources(data["provenance"])),
        SAMPLES: samples_page(details),
        CARD: data_card(data, evaluated_bytes()),
    }
    for path, page in pages.items():
        write_bytes(path, page.encode())
        logger.info("%s", path)


if __name__ == "__main__":
    run_stage("report", main)
