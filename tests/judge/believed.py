"""The committed judge as it would be without the replies on which it failed: its rates are shown."""

from dataclasses import replace
from pathlib import Path

from llm.judge.instrument import Judge, load_judge

FOLDER = Path(__file__).resolve().parents[2] / "data/judge"


def believed_judge() -> Judge:
    """The weights and figures of data/judge, but those on replies of models."""
    judge = load_judge(FOLDER)
    return replace(judge, figures={name: found for name, found in judge.figures.items() if name != "replies"})
