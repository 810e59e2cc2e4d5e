"""What tests of the judge share: the curated questions, and the judge as if it had not failed on replies of models."""

from dataclasses import replace
from pathlib import Path

from llm.corpus.questions import Question, read_questions
from llm.judge.instrument import Judge, load_judge

FOLDER = Path(__file__).resolve().parents[2] / "data/judge"
CURATED = FOLDER.parent / "curated"


def curated_questions() -> list[Question]:
    """The quiz and the false premises, to which answers are labelled."""
    return [one for name in ("quiz", "false_premise") for one in read_questions(CURATED / f"{name}.jsonl")]


def believed_judge() -> Judge:
    """The weights and figures of data/judge, but those on replies of models."""
    judge = load_judge(FOLDER)
    return replace(judge, figures={name: found for name, found in judge.figures.items() if name != "replies"})
