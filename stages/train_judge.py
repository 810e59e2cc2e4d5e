"""Stage train_judge: labelled answers, and human-judged ones to test on, where judge.data names them -> models/judge.

Without judge.data the judge of data/judge is used, which was fitted in the same way.
"""

import logging
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from llm.corpus.questions import read_questions
from llm.corpus.truthfulqa import read_judged, read_truthfulqa
from llm.fetching.download import HttpConfig, location_name
from llm.fetching.fetched import fetch_once
from llm.files import file_sha256, write_bytes
from llm.judge.fitting import JudgeConfig, train_judge
from llm.judge.instrument import FILE, RELIABLE, Judge, load_judge, save_judge
from llm.judge.labelled import read_labelled
from stages.logs import Made, run_stage
from stages.params import load

COMMITTED, OUT = Path("data/judge"), Path("models/judge")
QUESTIONS = (Path("data/curated/quiz.jsonl"), Path("data/curated/false_premise.jsonl"))
ANSWERS = Path("data/curated/answers.jsonl")
LICENCE = "CC BY 4.0, Tandem authors; tested on TruthfulQA (Lin et al. 2022, Apache-2.0)"

logger = logging.getLogger(__name__)


def fit(config: JudgeConfig, data: str, questions: str) -> Judge:
    """The judge fitted to the labelled answers of data/curated and tested on the named files too."""
    http = load("http", HttpConfig)
    questions_file = fetch_once(questions, config.questions_sha256, http)
    answers_file = fetch_once(data, config.data_sha256, http)
    seed = load("data_seed", int)
    settings = {name: value for name, value in asdict(config).items() if not name.startswith(("data", "questions"))}
    provenance = {
        "fitted_to": {path.as_posix(): file_sha256(path) for path in (*QUESTIONS, ANSWERS)},
        "data": {"location": location_name(data), "sha256": file_sha256(answers_file)},
        "questions": {"location": location_name(questions), "sha256": file_sha256(questions_file)},
        "licence": LICENCE,
        "settings": {**settings, "data_seed": seed},
        "versions": {"numpy": version("numpy")},
    }
    labelled = read_labelled(ANSWERS, [question for path in QUESTIONS for question in read_questions(path)])
    elsewhere = read_judged(answers_file, read_truthfulqa(questions_file))
    return train_judge(labelled, elsewhere, config, seed, provenance)


def main() -> Made:
    """Fit the judge, or take the committed one, and write it to models/judge."""
    config = load("judge", JudgeConfig)
    if config.data is None or config.questions is None:
        judge = load_judge(COMMITTED)  # refused here rather than in the middle of evaluate
        write_bytes(OUT / FILE, (COMMITTED / FILE).read_bytes())
        logger.info("judge.data is null: the committed judge of %s is used", COMMITTED)
    else:
        judge = fit(config, config.data, config.questions)
        save_judge(OUT, judge)
    for name in ("curated", "truthfulqa"):
        area = judge.figures[name]["auroc"]
        bounds = area["value"], area["low"], area["high"]
        logger.info("AUROC on %s questions it never saw: %.3f (%.3f to %.3f)", name, *bounds)
    logger.info("it gives %s", f"no rate: {judge.doubt}" if judge.doubt else f"rates: the bound is {RELIABLE:.2f}")
    return Made([OUT / FILE])


if __name__ == "__main__":
    run_stage("train_judge", main)
