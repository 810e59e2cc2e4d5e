"""`python -m llm COMMAND`: what there is to ask, and how each command of llm/commands.py ends: in one line."""

import argparse
import os
import sys
from pathlib import Path

from llm.failures import SAYS_ENOUGH, describe_error, log_traceback

LOG = Path("logs/llm.log")
INTERRUPTED, PIPE_CLOSED = 130, 141  # 128 + the signal that ends other tools
COMPARE = """\
examples:
  python -m llm compare scratch mistral                    two models of the last run
  python -m llm compare main:scratch exp-lr:scratch        one model of two revisions or experiments
  python -m llm compare main workspace --model scratch     the same, the model named once
  python -m llm compare a1,a2,a3 b1,b2,b3 --model scratch  three training seeds a side (-S seed=...)

A side is a list of runs with commas between them, each [REVISION:]MODEL. A revision is what git or
`dvc exp show` calls it; without one, or as `workspace`, it is the working tree. With fewer than three
seeds a side the verdict is about these runs on these items at most, not about configurations."""

CHECK_DATA = """\
examples:
  python -m llm check-data chats.jsonl                     one file
  python -m llm check-data texts/ https://example.org/a.csv    a folder, a file of the web
  python -m llm check-data faq.csv --columns prompt=q,reply=a,group=topic

It ends with the lines for params.yaml. Nothing is written, and nothing but what a URL names is fetched."""

PODCAST = """\
examples:
  python -m llm podcast                                    speak metrics/podcast.md with what is installed
  python -m llm podcast --engine espeak-ng --voice en-gb,en-us+f3,en-gb-scotland+m3
  python -m llm podcast --engine piper --voice host.onnx,pip.onnx,oak.onnx --out episode

What is spoken is the script as it stands there: change a line, and the changed line is heard."""


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
    about = "what would be read of own texts: form, dialogues, languages, damaged lines, personal data, and what next"
    six = commands.add_parser("check-data", help=about, description=about, epilog=CHECK_DATA, formatter_class=raw)
    six.add_argument("files", nargs="+", metavar="FILE", help="a file, a folder or a URL")
    six.add_argument("--form", metavar="FORM", help="messages, instruction, pairs or text; else it is recognised")
    six.add_argument("--columns", type=_columns, metavar="USE=NAME,...", help="what columns of other names are for")
    about = "speak the episode that the last run made, metrics/podcast.md, by a speech engine; see docs/podcast.md"
    last = commands.add_parser("podcast", help=about, description=about, epilog=PODCAST, formatter_class=raw)
    last.add_argument("--engine", choices=("flite", "espeak-ng", "piper"), help="else the first that is installed")
    last.add_argument("--voice", default="", metavar="NAME,...", help="of the host, Pip and Oak; piper: .onnx files")
    last.add_argument("--out", type=Path, default=Path("podcast"), metavar="FOLDER", help="where to write it: podcast")
    return parser


def _columns(text: str) -> dict[str, str]:
    """What each column is for.

    >>> _columns("prompt=q,reply=a")
    {'prompt': 'q', 'reply': 'a'}
    """
    pairs = [pair.partition("=") for pair in text.split(",")]
    if not all(use and name for use, _, name in pairs):
        raise argparse.ArgumentTypeError(f"{text!r} is not USE=NAME,..., such as prompt=q,reply=a")
    return {use.strip(): name.strip() for use, _, name in pairs}


def main(words: list[str] | None = None) -> int:
    """Run the command; its exit code, or 1 after a line that says what is wrong."""
    try:
        arguments = make_parser().parse_args(words)
        from llm.commands import run_command  # here: it imports packages that another environment has not

        code = run_command(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # of `| head`, which has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still to be written goes nowhere
        return PIPE_CLOSED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except ModuleNotFoundError as error:
        print(f"{sys.executable} has no {error.name}: run `make install`, then `. .venv/bin/activate`", file=sys.stderr)
    except Exception as error:
        print(describe_failure(error), file=sys.stderr)
    return 1


def describe_failure(error: Exception) -> str:
    """One line on what went wrong; of a defect the traceback is written to the log."""
    if isinstance(error, SAYS_ENOUGH):
        return describe_error(error)
    return f"{describe_error(error)}{log_traceback(error, LOG)}"


if __name__ == "__main__":
    sys.exit(main())
