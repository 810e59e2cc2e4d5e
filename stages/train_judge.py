"""Stage train_judge: human-judged answers, where judge.data names them, else data/judge -> models/judge."""

import logging
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from llm.corpus.truthfulqa import read_judged, read_truthfulqa
from llm.download import HttpConfig, location_name
from llm.fetched import fetch_once
from llm.files import file_sha256, write_bytes
from llm.judge.fitting import JudgeConfig, train_judge
from llm.judge.trees import FILE, Judge, load_judge, save_judge
from stages.logs import run_stage
from stages.params import load

COMMITTED, OUT = Path("data/judge"), Path("models/judge")
LICENCE = "Apache-2.0 (TruthfulQA, Lin et al. 2022)"

logger = logging.getLogger(__name__)


def fit(config: JudgeConfig, data: str, questions: str) -> Judge:
    """The judge fitted to the named files."""
    http = load("http", HttpConfig)
    questions_file = fetch_once(questions, config.questions_sha256, http)
    answers_file = fetch_once(data, config.data_sha256, http)
    seed = load("data_seed", int)
    settings = {name: value for name, value in asdict(config).items() if not name.startswith(("data", "questions"))}
    provenance = {
        "data": {"location": location_name(data), "sha256": file_sha256(answers_file)},
        "questions": {"location": location_name(questions), "sha256": file_sha256(questions_file)},
        "licence": LICENCE,
        "settings": {**settings, "data_seed": seed},
        "versions": {name: version(name) for name in ("numpy", "scikit-learn")},
    }
    return train_judge(read_judged(answers_file, read_truthfulqa(questions_file)), config, seed, provenance)


def main() -> None:
    """Fit the judge, or take the committed one, and write it to models/judge."""
    config = load("judge", JudgeConfig)
    if config.data is None or config.questions is None:
        load_judge(COMMITTED)  # refused here rather than in the middle of evaluate
        write_bytes(OUT / FILE, (COMMITTED / FILE).read_bytes())
        logger.info("judge.data is null: the committed judge of %s is used", COMMITTED)
        return
    judge = fit(config, config.data, config.questions)
    save_judge(OUT, judge)
    area = judge.figures["unseen"]["auroc"]
    bounds = (area["value"], area["low"], area["high"])
    logger.info("the judge's AUROC on questions it never saw: %.3f (%.3f to %.3f)", *bounds)


if __name__ == "__main__":
    run_stage("train_judge", main)
