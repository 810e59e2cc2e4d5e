"""Stage clean: data/raw, data/curated -> data/clean/{train,val,test}.arrow, data/clean/report.json.

Where clean.truth_data names TruthfulQA.csv it is held out too, and only then copied to data/clean: evaluate takes it
from there, so that no model is graded on questions that it may have been trained on here.
"""

import json
import logging
from pathlib import Path

from llm.corpus.clean import CleanConfig, clean
from llm.corpus.questions import read_pairs, read_questions
from llm.corpus.truthfulqa import read_truthfulqa
from llm.dialogue import read_dialogues
from llm.fetching.download import HttpConfig
from llm.fetching.fetched import fetch_once
from llm.files import write_bytes, write_json
from stages.logs import Made, run_stage
from stages.params import load

RAW, CURATED, OUT = Path("data/raw"), Path("data/curated"), Path("data/clean")
REPORT, TRUTHFULQA = OUT / "report.json", OUT / "TruthfulQA.csv"
PROVENANCE = ".provenance.json"

logger = logging.getLogger(__name__)


def find_truthfulqa(config: CleanConfig) -> Path | None:
    """TruthfulQA.csv on this machine; None where the parameters name none."""
    if config.truth_data is None:
        return None
    return fetch_once(config.truth_data, config.truth_data_sha256, load("http", HttpConfig))


def read_held_out(truthfulqa: Path | None) -> dict[str, list[str]]:
    """The texts of each held-out question set."""
    sets = {name: read_questions(CURATED / f"{name}.jsonl") for name in ("quiz", "false_premise")}
    sets["pairs"] = read_pairs(CURATED / "pairs.jsonl")
    if truthfulqa:
        sets["truth"] = read_truthfulqa(truthfulqa)
        logger.info("TruthfulQA: %d questions are held out", len(sets["truth"]))
    return {name: [text for one in questions for text in one.texts] for name, questions in sets.items()}


def main() -> Made:
    """Write the clean dialogues of each split and the report on what was dropped."""
    config, seed = load("clean", CleanConfig), load("data_seed", int)
    truthfulqa = find_truthfulqa(config)
    held_out = read_held_out(truthfulqa)
    sources = sorted(path.name.removesuffix(PROVENANCE) for path in RAW.glob(f"*{PROVENANCE}"))
    raw = {source: read_dialogues(RAW / f"{source}.jsonl") for source in sources}
    report = clean(raw, [text for texts in held_out.values() for text in texts], config, seed, OUT)
    if truthfulqa:
        write_bytes(TRUTHFULQA, truthfulqa.read_bytes())
    else:
        TRUTHFULQA.unlink(missing_ok=True)
    provenance = {source: json.loads((RAW / f"{source}{PROVENANCE}").read_text(encoding="utf-8")) for source in sources}
    texts = {name: len(texts) for name, texts in held_out.items()}
    write_json(REPORT, {**report, "held_out_texts": texts, "provenance": provenance})
    return Made([REPORT])


if __name__ == "__main__":
    run_stage("clean", main)
