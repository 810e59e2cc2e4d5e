"""`python -m stages.judge_replies FILE`: how the judge of data/judge does on replies that readers labelled.

FILE has a line {"model": "scratch", "question": "quiz-001", "reply": "...", "label": true} a reply. Prints the figures
as JSON; with --record they enter data/judge/judge.json, and its rates exist only where these figures allow it too.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from llm.corpus.questions import read_questions
from llm.evaluation.figure_files import round_figures
from llm.judge.instrument import load_judge, save_judge
from llm.judge.labelled import read_replies, reply_figures, with_replies

COMMITTED = Path("data/judge")
QUESTIONS = (Path("data/curated/quiz.jsonl"), Path("data/curated/false_premise.jsonl"))
N_RESAMPLES, SEED = 2000, 1


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures, and record them where that is asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m stages.judge_replies",
        description=__doc__,
        epilog="example: python -m stages.judge_replies labelled.jsonl",
    )
    parser.add_argument("file", type=Path, help="replies that readers labelled, a line each")
    parser.add_argument("--record", action="store_true", help="hold the judge to these figures from now on")
    asked = parser.parse_args(arguments)
    questions = [question for path in QUESTIONS for question in read_questions(path)]
    judge = load_judge(COMMITTED)
    figures = round_figures(reply_figures(judge, read_replies(asked.file, questions), N_RESAMPLES, SEED))
    print(json.dumps(figures, indent=2))
    if asked.record:
        judge = replace(judge, figures=with_replies(judge.figures, figures))
        save_judge(COMMITTED, judge)
    print(f"no rate: {judge.doubt}" if judge.doubt else "the judge may give rates")


if __name__ == "__main__":
    main()
