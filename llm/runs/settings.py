"""What a run was evaluated with: written beside its figures, so that they can be computed again from files alone."""

import json
from dataclasses import dataclass
from pathlib import Path

from llm.evaluation.testset import EvaluateConfig
from llm.judge.trees import Judge
from llm.runs.compare import CompareConfig, Rules, SeedSd


@dataclass(frozen=True)
class Settings:
    """The content of metrics/detail/settings.json."""

    evaluate: EvaluateConfig
    compare: CompareConfig
    data_seed: int
    min_dialogues: int  # of a source with an interval

    def rules(self, judge: Judge | None) -> Rules:
        """The rules by which this run is compared."""
        return Rules(self.compare.seed_sd, self.evaluate.bootstrap, self.data_seed, self.min_dialogues, judge)


def read_settings(path: Path) -> Settings:
    """The settings of a file.

    Raises ValueError for a file of another form, FileNotFoundError saying what to run.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: run `dvc repro evaluate`")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        evaluate, spreads = EvaluateConfig(**values["evaluate"]), SeedSd(**values["compare"]["seed_sd"])
        return Settings(evaluate, CompareConfig(spreads), values["data_seed"], values["min_dialogues"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is of another version: run `dvc repro evaluate` ({error})") from error
