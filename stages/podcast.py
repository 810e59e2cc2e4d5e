"""Stage podcast: what the models of the run replied and found likely -> metrics/podcast.md, the script of an episode.

`python -m llm podcast` speaks it.
"""

import json
import logging
from pathlib import Path

from llm.app.episode import make_episode
from llm.app.heard import (
    PRETRAINED,
    SCRATCH,
    Asked,
    Heard,
    larger_model,
    read_asked,
    read_model,
    read_pairs_heard,
    read_traps,
)
from llm.app.known import ANSWERS, OPENERS, TALK
from llm.app.script import script_markdown
from llm.corpus.questions import Question, read_pairs, read_questions
from llm.evaluation.samples import own_sources
from llm.files import write_bytes
from llm.runs.output_rows import read_output_rows
from stages.logs import run_stage
from stages.params import load

DETAIL, DATA = Path("metrics/detail"), Path("data/summary.json")
PREDICTIONS, SCORES = Path("metrics/predictions.jsonl"), Path("metrics/scores.jsonl")
CURATED = Path("data/curated")
OUT = Path("metrics/podcast.md")

logger = logging.getLogger(__name__)


def unanswered(prompt: str) -> Question:
    """A prompt that has no true answer, or none that is told."""
    return Question(prompt, "", prompt, ("-",), ("-",))


def read_heard() -> Heard:
    """What the run gives to tell."""
    predictions, scores = read_output_rows(PREDICTIONS), read_output_rows(SCORES)
    large = larger_model(predictions)
    details = {name: json.loads((DETAIL / f"{name}.json").read_text("utf-8")) for name in (SCRATCH, large)}
    premises, provenance = (
        read_questions(CURATED / "false_premise.jsonl"),
        json.loads(DATA.read_text("utf-8"))["provenance"],
    )
    judge = (details[SCRATCH]["truth"] or {}).get("judge") or {}

    def asked(questions: list[Question], kind: str) -> list[Asked]:
        return read_asked(questions, kind, SCRATCH, large, predictions)

    return Heard(
        small=read_model(SCRATCH, details[SCRATCH]),
        large=read_model(large, details[large]),
        finetuned=large != PRETRAINED,
        private=bool(own_sources(provenance)),
        judge_doubt=judge.get("no_rate_because"),
        talk=asked([unanswered(prompt) for prompt in TALK], "shown"),
        shown=asked([*(unanswered(prompt) for prompt in OPENERS), *ANSWERS], "shown"),
        quiz=asked([*read_questions(CURATED / "quiz.jsonl"), *premises], "truth"),
        pairs=read_pairs_heard(read_pairs(CURATED / "pairs.jsonl"), SCRATCH, large, scores),
        traps=read_traps(premises, large, scores),
    )


def main() -> None:
    """Write the script."""
    episode = make_episode(read_heard(), load("data_seed", int))
    write_bytes(OUT, script_markdown(episode).encode())
    logger.info("%s: %d words, %d chapters", OUT, episode.words, len(episode.chapters))


if __name__ == "__main__":
    run_stage("podcast", main)
