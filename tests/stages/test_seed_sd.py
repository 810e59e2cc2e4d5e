"""How much figures differ between seeds; the runs themselves are those of `dvc exp run`."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from llm.judge.instrument import save_judge
from stages.params import read_params
from stages.seed_sd import KEPT, find_judge, main, read_kept, recipe_key, spreads
from tests.judge.believed import believed_judge

FIGURES = [{"scratch": {"bpb.all": 1.0 + 0.1 * seed, "text.chrf": 7.0}} for seed in (1, 2, 3)]


@pytest.fixture
def project(tmp_path, repository, monkeypatch):
    """A folder with the committed params.yaml and three kept seeds, whose interpreter has no DVC to run another."""
    shutil.copy(repository / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    key = recipe_key(read_params())
    KEPT.parent.mkdir()
    rows = [{"key": key, "seed": seed, "figures": found} for seed, found in enumerate(FIGURES, 1)]
    other = {"key": "another recipe", "seed": 4, "figures": FIGURES[0]}
    KEPT.write_text("".join(json.dumps(row) + "\n" for row in [*rows, other]), encoding="utf-8")
    return tmp_path


def test_the_spread_is_that_of_the_seeds_as_a_sample():
    assert spreads(FIGURES) == {"scratch": {"bpb": {"all": 0.1}}}
    assert np.std([1.1, 1.2, 1.3], ddof=1) == pytest.approx(0.1)
    assert spreads([*FIGURES, {"scratch": {"bpb.all": 1.4}}]) == {"scratch": {"bpb": {"all": 0.13}}}  # one lacks chrF


def test_seeds_that_ran_before_are_not_run_again_and_the_spreads_are_written(project, monkeypatch):
    before = (project / "params.yaml").read_text(encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["seed_sd", "3"])
    main()
    assert read_params()["compare"]["seed_sd"] == {"scratch": {"bpb": {"all": 0.1}}}
    after = (project / "params.yaml").read_text(encoding="utf-8")
    assert read_params()["compare"]["seeds"] == 3
    changed = before.index("  seeds:")
    assert after[:changed] == before[:changed]  # comments and all


def test_a_seed_of_another_recipe_does_not_count(project):
    assert sorted(read_kept(recipe_key(read_params()))) == [1, 2, 3]
    other = {**read_params(), "data_seed": 2}
    assert read_kept(recipe_key(other)) == {}
    assert recipe_key({**read_params(), "seed": 7}) == recipe_key(read_params())


def test_a_seed_of_other_code_does_not_count(project):
    before = recipe_key(read_params())
    (project / "llm" / "evaluation").mkdir(parents=True)
    (project / "llm" / "evaluation" / "scoring.py").write_text("LIMIT = 1\n", encoding="utf-8")
    assert read_kept(recipe_key(read_params())) == {} != read_kept(before)


def test_a_seed_that_fails_ends_in_a_line_and_keeps_the_others(project, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["seed_sd", "4"])
    with pytest.raises(ValueError, match=r"seed 4 failed: .*the finished seeds are kept"):
        main()  # no git repository here: DVC refuses
    assert len(KEPT.read_text(encoding="utf-8").splitlines()) == 4


def test_a_clone_without_a_judge_has_spreads_too_and_a_judge_not_believed_has_none(project, repository):
    assert find_judge() is None
    shutil.copytree(repository / "data/judge", "models/judge")
    assert find_judge() is None  # it failed on the replies of models
    save_judge(Path("models/judge"), believed_judge())
    assert find_judge() is not None
