"""The command line of `python -m llm`, apart from the commands: their packages take seconds to import."""

import argparse
from pathlib import Path

COMPARE = """\
examples:
  python -m llm compare scratch mistral                    two models of the last run
  python -m llm compare main:scratch exp-lr:scratch        one model of two revisions or experiments
  python -m llm compare main workspace --model scratch     the same, the model named once
  python -m llm compare a1,a2,a3 b1,b2,b3 --model scratch  three training seeds a side (-S seed=...)

A side is a list of runs with commas between them, each [REVISION:]MODEL. A revision is what git or
`dvc exp show` calls it; without one, or as `workspace`, it is the working tree. With fewer than three
seeds a side the verdict is about these runs on these items at most, not about configurations."""


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m llm", description="What to ask of finished runs.")
    commands = parser.add_subparsers(title="commands", required=True, dest="command", metavar="COMMAND")
    raw = argparse.RawDescriptionHelpFormatter
    about = "which of two models, revisions or experiments is better, and how sure that is"
    one = commands.add_parser("compare", help=about, description=about, epilog=COMPARE, formatter_class=raw)
    one.add_argument("a", metavar="A", help="a run or several with commas: [REVISION:]MODEL,...")
    one.add_argument("b", metavar="B", help="what A is compared with")
    one.add_argument("--model", help="the model of every run; A and B then name revisions only")
    about = "compute every figure of the last run again, from metrics/*.jsonl and data/, without a model"
    two = commands.add_parser("rescore", help=about, description=about)
    two.add_argument("--out", type=Path, metavar="FOLDER", help="also write the figures there, one file a model")
    about = "save a trained model in Hugging Face form, with tokenizer and chat template; LoRA weights merged"
    three = commands.add_parser("export", help=about, description=about)
    three.add_argument("model", choices=("scratch", "mistral"))
    three.add_argument("folder", type=Path, metavar="FOLDER", help="a new or empty one")
    about = "what a person's judgements of answers say of the judge: a filled-in copy of metrics/judge_audit.csv"
    four = commands.add_parser("judge-audit", help=about, description=about)
    four.add_argument("file", type=Path, metavar="FILE", help="the table, true or false in the column human")
    about = "write the table of the last run, metrics/results.md, into README.md"
    commands.add_parser("results", help=about, description=about)
    return parser
