"""Another run beside the one at hand: its own files, the models of both on the same items, what else differs."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llm.app.markdown import Section, markdown_table
from llm.app.parameters import differences_table
from llm.app.report_run import COST, PARAMETERS, VERSIONS, ReportedRun, Values, read_json, read_text, read_yaml
from llm.app.sections import headline_sentences
from llm.app.verdicts import comparison_table
from llm.evaluation.figure_files import show_number
from llm.judge.instrument import Judge
from llm.runs.compare import Comparison, NothingSharedError, compare
from llm.runs.run_files import (
    RESULTS,
    WORKSPACE,
    EvaluatedRun,
    drop_other_texts,
    export_files,
    export_revision,
    read_run,
)

COMPARED_MODELS = ("mistral", "scratch")  # that a run trains


@dataclass(frozen=True)
class OtherRun:
    """A run of another revision or experiment, by the files that git holds of it."""

    name: str
    run: EvaluatedRun
    results: str  # its table, as Markdown
    parameters: Values
    versions: Values
    cost: Values | None


def read_other(revision: str, repository: Path) -> OtherRun:
    """The run of a commit, branch or experiment. Raises ValueError, FileNotFoundError like export_files."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export_revision(revision, folder, repository)
        export_files(revision, (RESULTS, PARAMETERS, VERSIONS), folder, repository)
        try:
            export_files(revision, [COST], folder, repository)
        except FileNotFoundError:  # older than that file
            cost = None
        else:
            cost = read_json(folder / COST)
        return OtherRun(
            name=revision,
            run=read_run(folder),
            results=read_text(folder / RESULTS),
            parameters=read_yaml(folder / PARAMETERS),
            versions=read_yaml(folder / VERSIONS),
            cost=cost,
        )


def against_section(here: ReportedRun, run: EvaluatedRun, other: OtherRun, judge: Judge | None) -> Section:
    """What two runs have in common and in which they differ: figures with verdicts, parameters, versions, cost."""
    runs, different = drop_other_texts({WORKSPACE: run, other.name: other.run})
    parts = [
        f"`here` is the run that this report is of, `there` is that of `{other.name}`. Both are measured on the items "
        "that they share.",
    ]
    if different:
        parts.append(f"What the models wrote is not compared, for it was asked otherwise: {'; '.join(different)}.")
    folds = [(f"All models of {other.name}", other.results)]
    for model in COMPARED_MODELS:
        parts.append(f"### {model}")
        found = compare_model(model, runs, other.name, judge)
        if isinstance(found, str):
            parts.append(found)
        else:
            parts.append(headline_sentences(found.lines))
            folds.append((f"All figures of {model}", comparison_table(found.lines, "here", "there")))
    parts += ["### What was changed", *_changes(here, other)]
    parts += ["### Minutes and memory", cost_beside(here.cost, other.cost)]
    return Section(f"Beside {other.name}", "\n\n".join(parts), folds)


def compare_model(model: str, runs: Mapping[str, EvaluatedRun], there: str, judge: Judge | None) -> Comparison | str:
    """One model of both runs on the items that they share; a sentence where there is nothing to compare."""
    missing = [name for name, run in runs.items() if model not in run.models]
    if missing:
        return f"`{model}` is no model of {' nor of '.join(missing)}, so it is not compared."
    sides = [[run.models[model]] for run in (runs[WORKSPACE], runs[there])]
    try:
        return compare(sides[0], sides[1], (model, model), runs[WORKSPACE].settings.rules(judge))
    except NothingSharedError as error:
        return f"{error}."


def _changes(here: ReportedRun, other: OtherRun) -> list[str]:
    changed = [differences_table(here.parameters, other.parameters, ("here", "there"))]
    changed.append(differences_table(here.versions, other.versions, ("here", "there")))
    return [table for table in changed if table] or ["Neither parameters nor versions: the code, the data or nothing."]


def cost_beside(here: Values | None, there: Values | None) -> str:
    """Minutes of each stage of two runs as a Markdown table."""
    if here is None or there is None:
        return "One of the two runs has no figures of its cost."
    rows = [(f"`{name}`", _minutes(here, name), _minutes(there, name)) for name in here["stages"]]
    return markdown_table(("stage, minutes", "here", "there"), rows)


def _minutes(cost: Values, stage: str) -> str:
    line = cost["stages"].get(stage)
    return show_number(line["seconds"] / 60, 1) if line else "-"
