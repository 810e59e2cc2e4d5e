import json
from dataclasses import asdict

import pytest

from llm.evaluation.testset import EvaluateConfig
from llm.files import write_json
from llm.runs.compare import CompareConfig
from llm.runs.settings import Settings, read_settings
from tests.measured_runs import SPREADS

EVALUATE = EvaluateConfig(
    dialogues=None, max_replies=2, history_chars=200, generations=4, sampled=2, temperature=0.8, top_p=0.95,
    max_new_tokens=6, truth_questions=2, truthfulqa_questions=None, batch_tokens=128, bootstrap=100,
)  # fmt: skip
SETTINGS = Settings(EVALUATE, CompareConfig(SPREADS), data_seed=3, min_dialogues=30)


def test_settings_come_back_from_their_file(tmp_path):
    write_json(tmp_path / "settings.json", asdict(SETTINGS))
    assert read_settings(tmp_path / "settings.json") == SETTINGS


def test_a_run_is_compared_by_its_own_numbers():
    rules = SETTINGS.rules(None)
    assert (rules.n_resamples, rules.seed, rules.min_dialogues, rules.seed_sd) == (100, 3, 30, SPREADS)


def test_settings_of_another_version_or_none_say_what_to_do(tmp_path):
    values = asdict(SETTINGS)
    del values["evaluate"]["top_p"]
    (tmp_path / "settings.json").write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(ValueError, match="of another version: run `dvc repro evaluate`"):
        read_settings(tmp_path / "settings.json")
    with pytest.raises(FileNotFoundError, match="run `dvc repro evaluate`"):
        read_settings(tmp_path / "none.json")
