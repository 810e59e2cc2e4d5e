"""Stage clean: data/raw, data/curated -> data/clean/{train,val,test}.arrow, data/clean/report.json."""

import json
import logging
from pathlib import Path

from llm.clean import CleanConfig, clean
from llm.dialogue import read_dialogues, write_table
from llm.files import write_json
from llm.questions import read_questions
from llm.truthfulqa import truth_texts
from stages.logs import run_stage
from stages.params import load, load_value

RAW, CURATED, OUT = Path("data/raw"), Path("data/curated"), Path("data/clean")
SOURCES = ("dialogue", "eli5", "technical")

logger = logging.getLogger(__name__)


def read_held_out(truth_data: str | None) -> dict[str, list[str]]:
    """The texts of each held-out question set."""
    curated = {name: read_questions(CURATED / f"{name}.jsonl") for name in ("quiz", "false_premise")}
    sets = {name: [text for one in questions for text in one.texts] for name, questions in curated.items()}
    return sets if truth_data is None else {**sets, "truth": truth_texts(Path(truth_data))}


def main() -> None:
    """Nothing; the stage's outputs are written."""
    config, seed = load("clean", CleanConfig), load_value("data_seed", int)
    held_out = read_held_out(config.truth_data)
    raw = {source: read_dialogues(RAW / f"{source}.jsonl") for source in SOURCES}
    cleaned = clean(raw, [text for texts in held_out.values() for text in texts], config, seed)
    for split, dialogues in cleaned.splits.items():
        logger.info("%s: %s dialogues", split, f"{write_table(OUT / f'{split}.arrow', dialogues):,}")
    provenance = {
        source: json.loads((RAW / f"{source}.provenance.json").read_text(encoding="utf-8")) for source in SOURCES
    }
    texts = {name: len(texts) for name, texts in held_out.items()}
    write_json(OUT / "report.json", {**cleaned.report, "held_out_texts": texts, "provenance": provenance})


if __name__ == "__main__":
    run_stage("clean", main)
