"""A run's files: those of the working tree, or those of a git revision or a DVC experiment."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llm.corpus.questions import read_pairs, read_questions
from llm.corpus.truthfulqa import read_truthfulqa
from llm.dialogue import read_table
from llm.evaluation.ask import Outputs
from llm.evaluation.items import EvaluateConfig
from llm.judge.trees import Judge
from llm.runs.compare import CompareConfig, Rules
from llm.runs.output_rows import ItemIndex, index_items, read_output_rows, restore_outputs

WORKSPACE = "workspace"  # DVC's own name for the working tree
METRICS, TEST, TRAIN, CURATED = "metrics", "data/clean/test.arrow", "data/clean/train.arrow", "data/curated"
TRUTHFULQA = "data/clean/TruthfulQA.csv"  # of runs that are graded on it
JUDGE = "models/judge"
SETTINGS, SCORES = f"{METRICS}/detail/settings.json", f"{METRICS}/scores.jsonl"
PREDICTIONS, RESULTS = f"{METRICS}/predictions.jsonl", f"{METRICS}/results.md"
QUESTION_FILES = (f"{CURATED}/quiz.jsonl", f"{CURATED}/false_premise.jsonl")
PAIRS = f"{CURATED}/pairs.jsonl"
NEEDED = (SETTINGS, SCORES, PREDICTIONS, TEST, *QUESTION_FILES, PAIRS)


@dataclass(frozen=True)
class Settings:
    """The content of metrics/detail/settings.json."""

    evaluate: EvaluateConfig
    compare: CompareConfig
    data_seed: int
    min_groups: int  # of a source with an interval

    def rules(self, judge: Judge | None) -> Rules:
        """The rules by which this run is compared."""
        return Rules(self.compare.seed_sd, self.evaluate.bootstrap, self.data_seed, self.min_groups, judge)


def read_settings(path: Path) -> Settings:
    """The settings of a file.

    Raises ValueError for a file of another form, FileNotFoundError saying what to run.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: run `dvc repro evaluate`")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        evaluate, spreads = EvaluateConfig(**values["evaluate"]), CompareConfig(values["compare"]["seed_sd"])
        return Settings(evaluate, spreads, values["data_seed"], values["min_groups"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is of another version: run `dvc repro evaluate` ({error})") from error


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


def read_run(folder: Path) -> EvaluatedRun:
    """The run whose files stand below the folder, laid out like this repository.

    Raises FileNotFoundError for one that is missing, ValueError where the data are not those of the run.
    """
    settings = read_settings(folder / SETTINGS)
    scored, generated = read_output_rows(folder / SCORES), read_output_rows(folder / PREDICTIONS)
    index, chars = read_item_index(folder), settings.evaluate.history_chars
    names = dict.fromkeys([*scored, *generated])
    models = {name: restore_outputs(scored.get(name, {}), generated.get(name, {}), index, chars) for name in names}
    return EvaluatedRun(settings, models)


def read_item_index(folder: Path) -> ItemIndex:
    """The test replies and the questions by id."""
    if not (folder / TEST).is_file():
        raise FileNotFoundError(f"{TEST} is missing: run `dvc repro clean`, or `dvc checkout` where it ran before")
    questions = [question for path in QUESTION_FILES for question in read_questions(folder / path)]
    questions += read_pairs(folder / PAIRS)
    if (folder / TRUTHFULQA).is_file():
        questions += read_truthfulqa(folder / TRUTHFULQA)
    return index_items(read_table(folder / TEST), questions)


def train_texts(folder: Path) -> Iterator[str]:
    """Every text of the training data."""
    return (text for dialogue in read_table(folder / TRAIN) for text in dialogue.texts)


def stated_figures(folder: Path, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A model's metrics file and its detail, as they stand there."""
    paths = (folder / METRICS / f"{name}.json", folder / METRICS / "detail" / f"{name}.json")
    metrics, detail = (json.loads(path.read_text(encoding="utf-8")) for path in paths)
    return metrics, detail


def export_revision(revision: str, folder: Path, repository: Path) -> None:
    """Copy the files that make a run below the folder, as they were in a commit, branch or experiment.

    Raises ValueError for an unknown revision, FileNotFoundError for a file that it lacks or that is in no cache.
    """
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException
    from dvc.scm import RevError
    from dvc_data.index import DataIndexDirError

    files = DVCFileSystem(str(repository), rev=revision)
    for path in (*NEEDED, TRUTHFULQA):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        try:
            if path != TRUTHFULQA or files.exists(path):
                files.get_file(path, str(folder / path))
        except RevError as error:
            raise ValueError(f"{revision} is no commit, branch or experiment here: see `dvc exp show`") from error
        except (DvcException, DataIndexDirError, OSError) as error:
            raise FileNotFoundError(
                f"{revision} has no {path}: it is older than that file, or its results are not in the cache "
                "(then `dvc fetch`, or run it again)"
            ) from error
