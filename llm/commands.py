"""The commands of `python -m llm`: what a person asks of finished runs. Only this module and __main__ print."""

import argparse
import json
import logging
import tempfile
from pathlib import Path

from llm.evaluation.eval_models import MODEL_NAMES
from llm.evaluation.figure_files import round_figures
from llm.evaluation.result_table import put_into_page
from llm.files import write_bytes, write_json
from llm.hub.export import export_finetuned, export_scratch
from llm.judge.trees import Judge, load_judge
from llm.runs.audit import audit_figures, read_audit
from llm.runs.compare import compare, table
from llm.runs.rescore import metric_inputs_of, mismatches, rescore
from llm.runs.run_files import (
    JUDGE,
    RESULTS,
    SETTINGS,
    WORKSPACE,
    EvaluatedRun,
    export_revision,
    read_run,
    read_settings,
    stated_figures,
    train_texts,
)

HERE = Path()
logger = logging.getLogger(__name__)
COMPARE = """\
examples:
  python -m llm compare scratch mistral                    two models of the last run
  python -m llm compare main:scratch exp-lr:scratch        one model of two revisions or experiments
  python -m llm compare main workspace --model scratch     the same, the model named once
  python -m llm compare a1,a2,a3 b1,b2,b3 --model scratch  three training seeds a side (-S seed=...)

A side is a list of runs with commas between them, each [REVISION:]MODEL. A revision is what git or
`dvc exp show` calls it; without one, or as `workspace`, it is the working tree. With fewer than three
seeds a side the verdict is about these runs on these items at most, not about configurations."""


def split_run(text: str, model: str | None) -> tuple[str, str]:
    """Revision and model of a run.

    >>> split_run("main:scratch", None), split_run("scratch", None), split_run("main", "scratch")
    (('main', 'scratch'), ('workspace', 'scratch'), ('main', 'scratch'))
    """
    if model:
        return text, model
    revision, _, name = text.rpartition(":")
    return revision or WORKSPACE, name


def read_runs(revisions: list[str]) -> dict[str, EvaluatedRun]:
    """The run of each revision; each is read once."""
    runs = {}
    for revision in dict.fromkeys(revisions):
        if revision == WORKSPACE:
            runs[revision] = read_run(HERE)
            continue
        with tempfile.TemporaryDirectory() as folder:
            export_revision(revision, Path(folder), HERE)
            runs[revision] = read_run(Path(folder))
    return runs


def find_judge() -> Judge | None:
    """The judge of the working tree, one for both sides; without it the comparison goes on, and says what it lacks."""
    if (HERE / JUDGE).is_dir():
        return load_judge(HERE / JUDGE)
    logger.warning("%s is missing, so what the judge says is not compared: run `dvc repro train_judge`", JUDGE)
    return None


def run_compare(arguments: argparse.Namespace) -> int:
    """Print the comparison; 0."""
    sides = [[split_run(text, arguments.model) for text in side.split(",")] for side in (arguments.a, arguments.b)]
    runs = read_runs([revision for side in sides for revision, _ in side])
    a, b = ([runs[revision].model(model) for revision, model in side] for side in sides)
    rules = runs[sides[0][0][0]].settings.rules(find_judge())
    print(table(compare(a, b, rules), arguments.a, arguments.b))
    return 0


def run_rescore(arguments: argparse.Namespace) -> int:
    """Print each figure that does not come out as it stands in metrics/; 1 if there is one, else 0."""
    run = read_run(HERE)
    figures = rescore(
        run.models, metric_inputs_of(run.models, run.settings, train_texts(HERE), load_judge(HERE / JUDGE))
    )
    n_wrong, kept = 0, set[str]()
    for name, found in figures.items():
        metrics, detail = stated_figures(HERE, name)
        wrong = mismatches(found, metrics, detail)
        n_wrong += len(wrong)
        kept |= metrics.keys() - found.metrics.keys()
        print(f"{name}: {'every figure equal' if not wrong else f'{len(wrong)} figures differ'}")
        print("".join(f"  {line}\n" for line in wrong), end="")
        if arguments.out:
            write_json(arguments.out / f"{name}.json", metrics | round_figures(found.metrics))
    if kept:
        print(f"{' and '.join(sorted(kept))}: not computed again but kept as they were, for that needs the models")
    return 1 if n_wrong else 0


def run_export(arguments: argparse.Namespace) -> int:
    """Save the model in the folder; 0."""
    models = HERE / "models"
    if arguments.model == "scratch":
        export_scratch(models / "scratch", arguments.folder)
    else:
        export_finetuned(models / "base", models / "mistral", arguments.folder)
    print(f"{arguments.folder} holds {arguments.model}: transformers.AutoModelForCausalLM.from_pretrained loads it")
    return 0


def run_audit(arguments: argparse.Namespace) -> int:
    """Print what the filled-in table says of the judge as JSON; 0."""
    settings, judge = read_settings(HERE / SETTINGS), load_judge(HERE / JUDGE)
    judged = read_audit(arguments.file, MODEL_NAMES)
    figures = audit_figures(judged, judge, settings.evaluate.bootstrap, settings.data_seed)
    print(json.dumps(round_figures(figures), indent=2))
    return 0


def run_results(_: argparse.Namespace) -> int:
    """Write the table of the last run into README.md; 0."""
    page, table = HERE / "README.md", HERE / RESULTS
    if not table.is_file():
        raise FileNotFoundError(f"{RESULTS} is missing: run `dvc repro` first")
    write_bytes(page, put_into_page(page.read_text("utf-8"), table.read_text("utf-8")).encode())
    print(f"README.md holds the table of {RESULTS}")
    return 0


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m llm", description="What to ask of finished runs.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    raw = argparse.RawDescriptionHelpFormatter
    about = "which of two models, revisions or experiments is better, and how sure that is"
    one = commands.add_parser("compare", help=about, description=about, epilog=COMPARE, formatter_class=raw)
    one.add_argument("a", metavar="A", help="a run or several with commas: [REVISION:]MODEL,...")
    one.add_argument("b", metavar="B", help="what A is compared with")
    one.add_argument("--model", help="the model of every run; A and B then name revisions only")
    one.set_defaults(command=run_compare)
    about = "compute every figure of the last run again, from metrics/*.jsonl and data/, without a model"
    two = commands.add_parser("rescore", help=about, description=about)
    two.add_argument("--out", type=Path, metavar="FOLDER", help="also write the figures there, one file a model")
    two.set_defaults(command=run_rescore)
    about = "save a trained model in Hugging Face form, with tokenizer and chat template; LoRA weights merged"
    three = commands.add_parser("export", help=about, description=about)
    three.add_argument("model", choices=("scratch", "mistral"))
    three.add_argument("folder", type=Path, metavar="FOLDER", help="a new or empty one")
    three.set_defaults(command=run_export)
    about = "what a person's judgements of answers say of the judge: a filled-in copy of metrics/judge_audit.csv"
    four = commands.add_parser("judge-audit", help=about, description=about)
    four.add_argument("file", type=Path, metavar="FILE", help="the table, true or false in the column human")
    four.set_defaults(command=run_audit)
    about = "write the table of the last run, metrics/results.md, into README.md"
    five = commands.add_parser("results", help=about, description=about)
    five.set_defaults(command=run_results)
    return parser


def run_command(words: list[str] | None = None) -> int:
    """Run the command of the words, or of the command line; its exit code.

    Raises ValueError or OSError, with a line that says what to do.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    arguments = make_parser().parse_args(words)
    try:
        return arguments.command(arguments)
    except FileNotFoundError as error:
        if (HERE / "params.yaml").is_file():
            raise
        raise FileNotFoundError(
            f"run this in the project's folder: {HERE.resolve()} has no params.yaml ({error})"
        ) from error
