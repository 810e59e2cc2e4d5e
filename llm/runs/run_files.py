"""A run's files: those of the working tree, or those of a git revision or a DVC experiment."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from llm.dialogue import read_table
from llm.evaluation.ask import Outputs
from llm.evaluation.items import EvaluateConfig, Sampling, SamplingConfig
from llm.judge.instrument import Judge
from llm.runs.compare import CompareConfig, Rules
from llm.runs.output_rows import read_items, read_output_rows, restore_outputs
from llm.runs.packed import ITEM_TEXTS, PACKED, PREDICTIONS, SCORES, SETTINGS, unpack_run

WORKSPACE = "workspace"  # DVC's own name for the working tree
ASKED_ALL = {"literacy_questions": None}  # what a run did that was made before this could be chosen
DRAWN_ALIKE = ("temperature", "top_p")  # of all models, in a run from before each had its own
METRICS, TRAIN, JUDGE = "metrics", "data/clean/train.arrow", "models/judge"
SCRATCH_FILES = ("config.json", "tokenizer.json", "best.safetensors")
FIGURES = f"{METRICS}/detail/figures"  # a file for each model, of which the stage report writes copies for git
RESULTS = f"{METRICS}/results.md"


@dataclass(frozen=True)
class Settings:
    """The content of metrics/detail/settings.json."""

    evaluate: EvaluateConfig
    compare: CompareConfig
    data_seed: int
    min_groups: int  # of a source with an interval

    def rules(self, judge: Judge | None) -> Rules:
        """The rules by which this run is compared."""
        compared, n_resamples = self.compare, self.evaluate.bootstrap
        return Rules(compared.seed_sd, n_resamples, self.data_seed, self.min_groups, judge, compared.seeds)


def read_settings(path: Path) -> Settings:
    """The settings of a file.

    Raises ValueError for a file of another form, FileNotFoundError saying what to run.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: run `dvc repro evaluate`; a committed run is named as HEAD:MODEL")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        evaluate = read_evaluate(values["evaluate"])
        spreads = CompareConfig(**values["compare"])
        return Settings(evaluate, spreads, values["data_seed"], values["min_groups"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is of another version: run `dvc repro evaluate` ({error})") from error


def read_evaluate(values: Mapping[str, Any]) -> EvaluateConfig:
    """The section `evaluate` of a run's settings; that of an older run as it was asked then."""
    known: dict[str, Any] = {**ASKED_ALL, **values}
    if "sampling" not in known:
        alike = {name: known.pop(name) for name in DRAWN_ALIKE}
        known["sampling"] = {field.name: alike for field in fields(SamplingConfig)}
    sampling = {model: Sampling(**how) for model, how in known["sampling"].items()}
    return EvaluateConfig(**known | {"sampling": SamplingConfig(**sampling)})


def differing_decoding(settings: Mapping[str, Settings]) -> list[str]:
    """How the runs' texts were generated differently, a line a setting; replies of other lengths are other items.

    >>> differing_decoding({"workspace": settings, "main": longer})
    ['evaluate.max_reply_bytes is 600 in workspace, 1200 in main']
    """
    how = {name: asdict(one.evaluate.greedy(seed=0)) for name, one in settings.items()}
    return [
        f"evaluate.{setting} is " + ", ".join(f"{values[setting]} in {name}" for name, values in how.items())
        for setting in next(iter(how.values()))
        if len({values[setting] for values in how.values()}) > 1
    ]


@dataclass(frozen=True)
class EvaluatedRun:
    """What the models of one run put out, and with which settings."""

    settings: Settings
    models: dict[str, Outputs]

    def model(self, name: str) -> Outputs:
        """The outputs of one model.

        Raises ValueError naming those there are.
        """
        if name not in self.models:
            raise ValueError(
                f"{name} is no model of that run; there are {', '.join(sorted(self.models))}; "
                "revisions and experiments are compared with --model NAME"
            )
        return self.models[name]

    def without_texts(self) -> "EvaluatedRun":
        """The run as if its models had written nothing."""
        return replace(self, models={name: replace(one, generations=None) for name, one in self.models.items()})


def drop_other_texts(runs: Mapping[str, EvaluatedRun]) -> tuple[dict[str, EvaluatedRun], list[str]]:
    """The runs by name, without what the models wrote where that was asked otherwise, and how it was."""
    different = differing_decoding({name: run.settings for name, run in runs.items()})
    if not different:
        return dict(runs), []
    return {name: run.without_texts() for name, run in runs.items()}, different


def read_run(folder: Path) -> EvaluatedRun:
    """The run whose files stand below the folder, laid out like this repository.

    Raises FileNotFoundError for one that is missing, ValueError where they are not of one run.
    """
    settings, index = read_settings(folder / SETTINGS), read_items(folder / ITEM_TEXTS)
    scored, generated = read_output_rows(folder / SCORES), read_output_rows(folder / PREDICTIONS)
    names = dict.fromkeys([*scored, *generated])
    models = {name: restore_outputs(scored.get(name, {}), generated.get(name, {}), index) for name in names}
    return EvaluatedRun(settings, models)


def train_texts(folder: Path) -> Iterator[str]:
    """Every text of the training data."""
    return (text for dialogue in read_table(folder / TRAIN) for text in dialogue.texts)


def stated_figures(folder: Path, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A model's figures and their detail, as they stand there."""
    paths = (folder / FIGURES / f"{name}.json", folder / METRICS / "detail" / f"{name}.json")
    metrics, detail = (json.loads(path.read_text(encoding="utf-8")) for path in paths)
    return metrics, detail


def export_files(revision: str, names: Sequence[str], folder: Path, repository: Path) -> None:
    """Write the named files of metrics/ below the folder, as they were in a commit, branch or experiment.

    Raises ValueError for an unknown revision, FileNotFoundError for one that lacks a file.
    """
    why = ": it is older than that file, or was committed without it: "
    advice = "run it again, and commit what the stage report writes to metrics/"
    _fetch(revision, {name: folder / name for name in names}, repository, why + advice)


def export_revision(revision: str, folder: Path, repository: Path) -> None:
    """Write the files COMPARED below the folder, as they were there. Raises ValueError, OSError like export_files."""
    export_files(revision, [PACKED], folder, repository)
    unpack_run(folder / PACKED, folder)


def export_scratch(revision: str, folder: Path, repository: Path) -> None:
    """Write the model that a commit, branch or experiment trained from scratch into the folder, for `load_gpt`.

    Raises ValueError for an unknown revision, FileNotFoundError where DVC's cache does not hold its model any more.
    """
    files = {f"models/scratch/{name}": folder / name for name in SCRATCH_FILES}
    _fetch(revision, files, repository, ": DVC's cache does not hold it: run it again here, or fetch it by `dvc fetch`")


def _fetch(revision: str, files: Mapping[str, Path], repository: Path, why_not: str) -> None:
    """Write files of a revision to where they shall be; `why_not` follows the name of one that it has not."""
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException
    from dvc.scm import RevError
    from dvc_data.index import DataIndexError

    commit = find_experiment(revision, repository) or revision
    for name, path in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            DVCFileSystem(str(repository), rev=commit).get_file(name, str(path))
        except RevError as error:
            raise ValueError(f"{revision} is no commit, branch or experiment here: see `dvc exp show`") from error
        except (DvcException, DataIndexError, OSError) as error:
            raise FileNotFoundError(f"{revision} has no {name}{why_not}") from error


def find_experiment(name: str, repository: Path) -> str | None:
    """The commit of the experiment of that name; None where there is none, or a branch or tag of this clone has it.

    DVC by itself would take a remote's branch of that name before it. Raises ValueError for a name of several.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc.repo.experiments.exceptions import AmbiguousExpRefInfo
    from dvc.repo.experiments.utils import resolve_name

    try:
        with Repo(str(repository)) as repo:
            if any(repo.scm.get_ref(f"refs/{kind}/{name}") for kind in ("heads", "tags")):
                return None
            found = resolve_name(repo.scm, name)[name]
            return found and repo.scm.get_ref(str(found))
    except AmbiguousExpRefInfo as error:
        raise ValueError(" ".join(str(error).split())) from error
    except DvcException:  # no repository: what reads the files says so
        return None
