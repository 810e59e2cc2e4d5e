"""What a report is made of: the files that a finished run has left, read once."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm.evaluation.figure_files import Details, read_csv
from llm.evaluation.plots import CsvRows
from llm.evaluation.result_table import MODELS
from llm.runs.compare import Line
from llm.runs.run_files import JUDGE, METRICS

PARAMETERS, LAPTOP, VERSIONS = "params.yaml", "presets/laptop.yaml", "versions.yaml"
COST = f"{METRICS}/cost.json"
PICTURES = ("bpb", "choice", "judge", "loss")
PAGES = ("results", "samples", "data_card")
TRAININGS = {"scratch": "train_scratch", "mistral": "finetune_mistral"}  # names of their files

Values = Mapping[str, Any]


@dataclass(frozen=True)
class ReportedRun:
    """A finished run as its report sees it."""

    details: Details  # metrics/detail/<model>.json by model
    figures: Details  # metrics/<model>.json by model
    compared: Mapping[str, Mapping[str, Line]]  # the standing comparisons that there are, by pair and figure
    data: Values  # metrics/data.json
    trainings: Mapping[str, Values]  # closing numbers of each model that is trained here
    curves: Mapping[str, CsvRows]  # their losses
    judge: Values  # figures of the hallucination judge
    pages: Mapping[str, str]  # Markdown pages beside the report, by name
    pictures: Mapping[str, str]  # SVG by name
    parameters: Values
    laptop: Values  # the preset that the parameters are held against
    versions: Values
    cost: Values | None  # metrics/cost.json; None where nothing was measured

    def is_there(self, model: str) -> bool:
        """Whether the run has that model: without a fine-tune there is no `mistral`."""
        return self.details[model].get("enabled", True)


def read_reported(folder: Path) -> ReportedRun:
    """The run whose files stand below the folder, laid out like this repository.

    Raises FileNotFoundError saying what to run for one that is missing.
    """
    metrics = folder / METRICS
    compared = read_json(metrics / "detail/compare.json")
    return ReportedRun(
        details={name: read_json(metrics / f"detail/{name}.json") for name in MODELS},
        figures={name: read_json(metrics / f"{name}.json") for name in MODELS},
        compared={pair: as_lines(one["lines"]) for pair, one in compared.items() if one},
        data=read_json(metrics / "data.json"),
        trainings={model: read_json(metrics / f"{name}.json") for model, name in TRAININGS.items()},
        curves={model: read_csv(metrics / f"{name}.csv") for model, name in TRAININGS.items()},
        judge=read_json(folder / JUDGE / "judge.json")["figures"],
        pages={name: read_text(metrics / f"{name}.md") for name in PAGES},
        pictures={name: read_text(metrics / f"plots/{name}.svg") for name in PICTURES},
        parameters=read_yaml(folder / PARAMETERS),
        laptop=read_yaml(folder / LAPTOP),
        versions=read_yaml(folder / VERSIONS),
        cost=read_json(folder / COST) if (folder / COST).is_file() else None,
    )


def as_lines(values: Mapping[str, Values]) -> dict[str, Line]:
    """The lines of a comparison, from the file that holds them."""
    return {name: Line(**line) for name, line in values.items()}


def read_text(path: Path) -> str:
    """The text of a file; FileNotFoundError saying what to run when there is none."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: run `dvc repro` first")
    return path.read_text(encoding="utf-8")


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises FileNotFoundError like read_text."""
    return json.loads(read_text(path))


def read_yaml(path: Path) -> dict[str, Any]:
    """The content of a YAML 1.2 file, in which `1e-4` is a number. Raises FileNotFoundError like read_text."""
    from ruamel.yaml import YAML

    return YAML(typ="safe", pure=True).load(read_text(path)) or {}
