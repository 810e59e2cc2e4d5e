"""What each command of `python -m llm` does. Only this module and __main__ print."""

import argparse
import json
import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from llm.app.model_card import model_card, read_trained
from llm.app.publish import Publication, check_publishable
from llm.evaluation.eval_models import MODEL_NAMES
from llm.evaluation.figure_files import round_figures
from llm.evaluation.result_table import put_into_page
from llm.evaluation.samples import PROMPTS
from llm.failures import PlainFormatter, printable
from llm.files import write_bytes, write_json
from llm.hub.export import check_new, merged_form, save_adapter_form, save_form, scratch_form
from llm.hub.gguf_form import Precision, write_gguf
from llm.hub.modelfile import modelfile
from llm.judge.instrument import Judge, load_judge
from llm.runs.audit import audit_figures, read_audit
from llm.runs.compare import compare, table
from llm.runs.packed import SETTINGS
from llm.runs.rescore import metric_inputs_of, mismatches, rescore
from llm.runs.run_files import (
    JUDGE,
    RESULTS,
    WORKSPACE,
    EvaluatedRun,
    drop_other_texts,
    export_revision,
    read_run,
    read_settings,
    stated_figures,
    train_texts,
)

HERE = Path()
logger = logging.getLogger(__name__)


def split_run(text: str, model: str | None) -> tuple[str, str]:
    """Revision and model of a run.

    >>> split_run("main:scratch", None), split_run("scratch", None), split_run("main", "scratch")
    (('main', 'scratch'), ('workspace', 'scratch'), ('main', 'scratch'))
    """
    if model:
        return text, model
    revision, _, name = text.rpartition(":")
    return revision or WORKSPACE, name


def split_side(text: str, model: str | None) -> list[tuple[str, str]]:
    """Revision and model of each run of a side; ValueError for a name that is empty."""
    if not all(part.strip() for part in text.split(",")):
        raise ValueError(f"an empty name in {text!r}: give runs as MODEL or REVISION:MODEL, with commas between seeds")
    return [split_run(part.strip(), model) for part in text.split(",")]


def model_names(sides: Sequence[Sequence[tuple[str, str]]]) -> tuple[str, str]:
    """The model of each side; ValueError where a side has several, which are no seeds of one configuration."""
    for side in sides:
        if len({model for _, model in side}) > 1:
            names = ", ".join(dict.fromkeys(model for _, model in side))
            raise ValueError(f"a side is several seeds of one model, not {names}: compare these two by two")
    return sides[0][0][1], sides[1][0][1]


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
    sides = [split_side(side, arguments.model) for side in (arguments.a, arguments.b)]
    runs, different = drop_other_texts(read_runs([revision for side in sides for revision, _ in side]))
    if different:
        logger.warning("what the models wrote is not compared, for it was asked otherwise: %s", "; ".join(different))
    a, b = ([runs[revision].model(model) for revision, model in side] for side in sides)
    rules = runs[sides[0][0][0]].settings.rules(find_judge())
    print(printable(table(compare(a, b, model_names(sides), rules), arguments.a, arguments.b)))
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
        print(printable("".join(f"  {line}\n" for line in wrong)), end="")
        if arguments.out:
            write_json(arguments.out / f"{name}.json", metrics | round_figures(found.metrics))
    if kept:
        print(f"{' and '.join(sorted(kept))}: not computed again but kept as they were, for that needs the models")
    return 1 if n_wrong else 0


def run_export(arguments: argparse.Namespace) -> int:
    """Save the model in the folder; 0."""
    if arguments.gguf:
        path = export_gguf(arguments.model, arguments.folder, arguments.gguf)
        print(f"{path} holds {arguments.model}: llama.cpp loads it, and Ollama by the Modelfile beside it")
        return 0
    if (cost := export_hub(arguments.model, arguments.folder)) is not None:
        print(f"the merge changed no logit behind the tried prompts by more than {cost:.1e}")
    loads = "peft.PeftModel" if arguments.model == "adapter" else "transformers.AutoModelForCausalLM"
    print(f"{arguments.folder} holds {arguments.model}: {loads}.from_pretrained loads it")
    return 0


def export_hub(name: str, folder: Path) -> float | None:
    """Write the model in Hugging Face form with its card; what a merge changed of the logits, None without one."""
    base, adapter = HERE / "models/base", HERE / "models/mistral"
    cost = None
    if name == "adapter":
        save_adapter_form(base, adapter, folder)
    elif name == "mistral":
        form, cost = merged_form(base, adapter, PROMPTS)
        save_form(form, folder)
    else:
        save_form(scratch_form(HERE / "models/scratch"), folder)
    trained = read_trained("scratch" if name == "scratch" else "mistral", HERE)
    model_card(trained, "adapter" if name == "adapter" else "whole", cost).save(folder / "README.md")
    return cost


def export_gguf(name: str, folder: Path, precision: Precision) -> Path:
    """Write the model as a gguf file, with Modelfile and card; where the file is."""
    if name == "adapter":
        raise ValueError("an adapter alone is not written as gguf: export mistral, which has it merged")
    check_new(folder)
    base, adapter = HERE / "models/base", HERE / "models/mistral"
    form = scratch_form(HERE / "models/scratch") if name == "scratch" else merged_form(base, adapter, PROMPTS)[0]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{precision}.gguf"
    write_gguf(path, form.network, form.tokenizer, precision, f"Tandem {name}")
    decoding = read_settings(HERE / SETTINGS).evaluate.drawn(name, seed=0) if (HERE / SETTINGS).is_file() else None
    write_bytes(folder / "Modelfile", modelfile(path.name, form, decoding).encode())
    model_card(read_trained(name, HERE), "gguf").save(folder / "README.md")
    return path


def run_publish(arguments: argparse.Namespace) -> int:
    """Send the model to the hub, or print what would be sent; 0."""
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    validate_repo_id(arguments.repo)
    check_publishable(read_trained("scratch" if arguments.model == "scratch" else "mistral", HERE))
    with tempfile.TemporaryDirectory() as temporary:
        publication = Publication(Path(temporary) / arguments.model, arguments.repo, arguments.private)
        export_hub(arguments.model, publication.folder)
        if token := os.environ.get("HF_TOKEN"):
            print(f"{publication.send(token)} holds {arguments.model}")
        else:
            print(printable(publication.plan()))
            print("nothing was sent: the environment variable HF_TOKEN is not set")
    return 0


def run_audit(arguments: argparse.Namespace) -> int:
    """Print what the filled-in table says of the judge as JSON; 0."""
    settings, judge = read_settings(HERE / SETTINGS), load_judge(HERE / JUDGE)
    judged = read_audit(arguments.file, MODEL_NAMES)
    figures = audit_figures(judged, judge, settings.evaluate.bootstrap, settings.data_seed)
    print(json.dumps(round_figures(figures), indent=2))
    return 0


def run_report(arguments: argparse.Namespace) -> int:
    """Write the report with the other run beside it; 0."""
    from llm.app.against import against_section, read_other
    from llm.app.report import report_html
    from llm.app.report_run import read_reported

    reported, other = read_reported(HERE), read_other(arguments.against, HERE)
    section = against_section(reported, read_run(HERE), other, find_judge())
    write_bytes(arguments.out, report_html(reported, [section]).encode())
    print(f"{arguments.out} holds the report with {arguments.against} beside it: open it in a browser")
    return 0


def run_results(_: argparse.Namespace) -> int:
    """Write the table of the last run into README.md; 0."""
    page, table = HERE / "README.md", HERE / RESULTS
    if not table.is_file():
        raise FileNotFoundError(f"{RESULTS} is missing: run `dvc repro` first")
    write_bytes(page, put_into_page(page.read_text("utf-8"), table.read_text("utf-8")).encode())
    print(f"README.md holds the table of {RESULTS}")
    return 0


def run_check_data(arguments: argparse.Namespace) -> int:
    """Print what would be read of each file, folder or URL; 0, or 1 where the provider would refuse one."""
    from llm.corpus.split import MAX_TEST_SHARE
    from llm.fetching.download import HttpConfig
    from llm.sources.check_data import check_data, describe_check, next_step
    from llm.sources.local import LocalConfig
    from llm.sources.masking import RULES

    http = HttpConfig(timeout_s=30, retries=2, backoff_s=1)  # someone waits for the answer: fewer tries than a stage's
    refused = 0
    for location in arguments.files:
        config = LocalConfig(location, arguments.form, arguments.columns, "not stated", tuple(RULES))
        check = check_data(config, http)
        print(printable(describe_check(check, config, MAX_TEST_SHARE)), end="\n\n")
        if check.damaged:
            refused = 1
            told = f"{location} is refused: mend its damaged lines ({check.damaged:,}) first"
            print(printable(told), file=sys.stderr)
        else:
            print(printable(next_step(config)))
    return refused


def run_chat(arguments: argparse.Namespace) -> int:
    """Talk in the terminal; its exit code."""
    from llm.app.chat import run_chat

    return run_chat(arguments)


def run_serve(arguments: argparse.Namespace) -> int:
    """Serve the page and the API until Ctrl-C; 0."""
    from llm.app.serve import run_serve

    return run_serve(arguments)


def run_podcast(arguments: argparse.Namespace) -> int:
    """Speak the script of the last run; 0."""
    from llm.app.spoken import run_podcast

    return run_podcast(arguments)


COMMANDS = {
    "compare": run_compare,
    "rescore": run_rescore,
    "export": run_export,
    "judge-audit": run_audit,
    "results": run_results,
    "report": run_report,
    "check-data": run_check_data,
    "chat": run_chat,
    "serve": run_serve,
    "publish": run_publish,
    "podcast": run_podcast,
}


def run_command(arguments: argparse.Namespace) -> int:
    """Run the command that the command line names; its exit code.

    Raises ValueError or OSError, with a line that says what to do.
    """
    console = logging.StreamHandler()
    console.setFormatter(PlainFormatter("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[console])
    try:
        return COMMANDS[arguments.command](arguments)
    except FileNotFoundError as error:
        if (HERE / "params.yaml").is_file():
            raise
        raise FileNotFoundError(
            f"run this in the project's folder: {HERE.resolve()} has no params.yaml ({error})"
        ) from error
