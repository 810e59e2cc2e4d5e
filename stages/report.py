"""Stage report: what was measured -> the files of metrics/ that git tracks, for people and for DVC.

A stage of its own: DVC caches the results of evaluate only where none of its outputs is a page that git tracks.
"""

import json
import logging
from collections import Counter
from pathlib import Path
from typing import Any

from llm.evaluation.data_card import data_card
from llm.evaluation.figure_files import summarise
from llm.evaluation.result_table import MODELS, own_data_note, result_table
from llm.evaluation.samples import PROMPTS, Sample, own_sources, samples_markdown, with_ellipsis
from llm.files import copy_file, write_bytes, write_json
from llm.runs.output_rows import read_output_rows
from llm.runs.packed import PACKED, pack_run
from stages.logs import run_stage

OUT = Path("metrics")
DETAIL, PREDICTIONS, SCORES = OUT / "detail", OUT / "predictions.jsonl", OUT / "scores.jsonl"
DATA = Path("data/summary.json")
TRAININGS = {"scratch": Path("models/scratch/summary.json"), "mistral": Path("models/mistral/summary.json")}
COPIES = {"data": DATA, "train_scratch": TRAININGS["scratch"], "finetune_mistral": TRAININGS["mistral"]}
RESULTS, SAMPLES, CARD = OUT / "results.md", OUT / "samples.md", OUT / "data_card.md"
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


def write_figures(data: dict[str, Any]) -> None:
    """Write the figures of each model, of the data and of the trainings, their summary for DVC, and the packed run."""
    copies = COPIES | {path.stem: path for path in sorted((DETAIL / "figures").iterdir())}
    for name, path in copies.items():
        copy_file(path, OUT / f"{name}.json")
    figures = {name: read_detail(f"figures/{name}") for name in MODELS}
    trained = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in TRAININGS.items()}
    lines = {pair: one and one["lines"] for pair, one in read_detail("compare").items()}
    write_json(OUT / "summary.json", summarise(figures, lines, data, trained))
    packed = pack_run(OUT.parent)
    write_bytes(Path(PACKED), packed)
    logger.info("%s: the run for comparisons, %d kB", PACKED, len(packed) // 1000)


def main() -> None:
    """Write the figures and the pages."""
    details = {name: read_detail(name) for name in MODELS}
    data = json.loads(DATA.read_text(encoding="utf-8"))
    write_figures(data)
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
