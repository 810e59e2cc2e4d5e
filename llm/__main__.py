"""`python -m llm COMMAND`: what there is to ask, and how each command of llm/commands.py ends: in one line."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from llm.failures import SAYS_ENOUGH, describe_error, keep_interruptions, log_traceback

LOG, AGAINST = Path("logs/llm.log"), Path("metrics/report_against.html")
INTERRUPTED, PIPE_CLOSED = 130, 141  # 128 + the signal that ends other tools
EXPORTED = ("scratch", "mistral", "adapter")
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

CHAT = """\
examples:
  python -m llm chat                                       the model that was trained here
  python -m llm chat mistral --temperature 0               the fine-tuned one, the likeliest token each time
  echo "What is overfitting?" | python -m llm chat base    the reply alone

Type /help there for what else can be done: compare models, see why a token was chosen, save the conversation."""

PODCAST = """\
examples:
  python -m llm podcast                                    speak metrics/podcast.md with what is installed
  python -m llm podcast --engine espeak-ng --voice en-gb,en-us+f3,en-gb-scotland+m3
  python -m llm podcast --engine piper --voice host.onnx,pip.onnx,oak.onnx --out episode

What is spoken is the script as it stands there: change a line, and the changed line is heard."""

Add = Callable[..., argparse.ArgumentParser]


def make_parser() -> argparse.ArgumentParser:
    """The command line; the help of each command ends with an example."""
    about = "What to ask of finished runs, and their models."
    parser = argparse.ArgumentParser(
        prog="python -m llm", description=about, epilog="example: python -m llm compare scratch mistral"
    )
    commands = parser.add_subparsers(title="commands", required=True, dest="command", metavar="COMMAND")
    _add_runs(commands.add_parser)
    _add_talk(commands.add_parser)
    _add_carry(commands.add_parser)
    _add_texts(commands.add_parser)
    return parser


def _add(add: Add, name: str, about: str, examples: str) -> argparse.ArgumentParser:
    """A command with its help; an example in one line, or several."""
    epilog = examples if "\n" in examples else f"example: {examples}"
    raw = argparse.RawDescriptionHelpFormatter
    return add(name, help=about, description=about, epilog=epilog, formatter_class=raw)


def _add_runs(add: Add) -> None:
    """What is asked of runs."""
    about = "which of two models, revisions or experiments is better, and how sure that is"
    compare = _add(add, "compare", about, COMPARE)
    compare.add_argument("a", metavar="A", help="a run or several with commas: [REVISION:]MODEL,...")
    compare.add_argument("b", metavar="B", help="what A is compared with")
    compare.add_argument("--model", help="the model of every run; A and B then name revisions only")
    about = "the report on the last run with another run beside it, as one HTML page"
    report = _add(add, "report", about, "python -m llm report --against HEAD~1")
    report.add_argument("--against", required=True, metavar="REV", help="a commit, branch or experiment that has a run")
    report.add_argument("--out", type=Path, default=AGAINST, metavar="FILE", help=f"where to write it: {AGAINST}")
    about = "compute every figure of the last run again, from metrics/*.jsonl and data/, without a model"
    rescore = _add(add, "rescore", about, "python -m llm rescore --out /tmp/figures")
    rescore.add_argument("--out", type=Path, metavar="FOLDER", help="also write the figures there, one file a model")
    about = "what a person's judgements of answers say of the judge: a filled-in copy of metrics/judge_audit.csv"
    audit = _add(add, "judge-audit", about, "python -m llm judge-audit audited.csv")
    audit.add_argument("file", type=Path, metavar="FILE", help="the table, true or false in the column human")
    about = "write the table of the last run, metrics/results.md, into README.md"
    _add(add, "results", about, "python -m llm results")


def _add_talk(add: Add) -> None:
    """Ways to talk to the models, and to hear of them."""
    chat = _add(add, "chat", "talk to a model in the terminal", CHAT)
    chat.add_argument("model", nargs="?", default="scratch", metavar="MODEL", help="scratch, mistral, base or a folder")
    chat.add_argument("--seed", type=int, help="of the draws; else another one each time")
    chat.add_argument("--temperature", type=float, help="0: the likeliest token each time; else the model's own")
    chat.add_argument("--top-p", type=float, help="only the likeliest tokens that together are this probable")
    chat.add_argument("--top-k", type=int, default=0, help="only so many of the likeliest tokens; 0: all")
    chat.add_argument("--repetition-penalty", type=float, default=1.0, help="above 1 what was said is less likely")
    chat.add_argument("--max-bytes", type=int, default=600, help="of a reply (600)")
    about = "serve a page to talk to the models, and an API that OpenAI's clients read; see docs/chat.md"
    serve = _add(add, "serve", about, "python -m llm serve --port 8080")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1: this machine alone)")
    serve.add_argument("--port", type=int, default=8000, help="(8000)")
    about = "speak the episode that the last run made, metrics/podcast.md, by a speech engine; see docs/podcast.md"
    podcast = _add(add, "podcast", about, PODCAST)
    podcast.add_argument("--engine", choices=("flite", "espeak-ng", "piper"), help="else the first that is installed")
    podcast.add_argument("--voice", default="", metavar="NAME,...", help="of the host, Pip and Oak; piper: .onnx files")
    podcast.add_argument("--out", type=Path, default=Path("podcast"), metavar="FOLDER", help="where to write: podcast")


def _add_carry(add: Add) -> None:
    """Ways to carry a model elsewhere."""
    about = (
        "save a trained model for other programs: transformers, llama.cpp, Ollama; with tokenizer, template and card"
    )
    export = _add(add, "export", about, "python -m llm export scratch my-model --gguf f16")
    export.add_argument("model", choices=EXPORTED, help="mistral has its adapter merged, adapter is that alone (peft)")
    export.add_argument("folder", type=Path, metavar="FOLDER", help="a new or empty one")
    export.add_argument("--gguf", choices=("f32", "f16"), help="as one file for llama.cpp, with a Modelfile for Ollama")
    about = "put a trained model on the Hugging Face hub; without the variable HF_TOKEN say what would be sent"
    publish = _add(add, "publish", about, "HF_TOKEN=hf_... python -m llm publish scratch me/my-model --private")
    publish.add_argument("model", choices=EXPORTED)
    publish.add_argument("repo", metavar="OWNER/NAME", help="the repository, made unless it is there")
    publish.add_argument("--private", action="store_true", help="one that is made is seen by its owner alone")


def _add_texts(add: Add) -> None:
    """What is asked of texts."""
    about = "what would be read of own texts: form, dialogues, languages, damaged lines, personal data, and what next"
    check = _add(add, "check-data", about, CHECK_DATA)
    check.add_argument("files", nargs="+", metavar="FILE", help="a file, a folder or a URL")
    check.add_argument("--form", metavar="FORM", help="messages, instruction, pairs or text; else it is recognised")
    check.add_argument("--columns", type=_columns, metavar="USE=NAME,...", help="what columns of other names are for")


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
    keep_interruptions()
    sys.exit(main())
