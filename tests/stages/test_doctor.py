import os
import shutil
import subprocess
import sys

import pytest

from stages.doctor import all_stages, judge_space, main, others, package_findings
from stages.params import read_params

pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value will soon:DeprecationWarning")


@pytest.fixture
def project(repository, tmp_path, monkeypatch):
    """A folder with the project's parameters and an empty DVC repository, in which nothing has run."""
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "-q"], cwd=tmp_path, check=True)
    shutil.copytree(repository / "presets", tmp_path / "presets")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/curated").symlink_to(repository / "data/curated")
    shutil.copyfile(repository / "presets/laptop.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_preset_that_can_run_is_examined_and_params_yaml_stays(project, capsys):
    before = (project / "params.yaml").read_bytes()
    assert main(["smoke"]) == 0
    page = capsys.readouterr().out
    groups = [line for line in page.splitlines() if line[0] != " "]
    assert groups[:-1] == ["parameters", "packages", "machine", "memory and disk", "sources", "dvc", "time"]
    assert groups[-1].startswith("0 problems, ")
    assert page.isascii()
    for told in ("the preset smoke is valid", "products in fp32", "are free", "base model: tiny", "  train_scratch "):
        assert told in page
    assert (project / "params.yaml").read_bytes() == before


def test_the_preset_for_7b_says_what_fits(project, capsys, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    main(["coursework"])
    page = capsys.readouterr().out
    assert "fine-tuning 7.25 billion weights" in page
    assert "on a GPU of 24 GiB: LoRA, checkpointing: " in page


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("lr: 1.4e-2", "lr: fast", "train.lr is 'fast'"),
        ("device: auto", "device: cuda", "device cuda is not available"),
    ],
)
def test_a_parameter_that_prevents_a_run_is_a_problem(project, capsys, old, new, told):
    path = project / "params.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    assert main([]) == 1
    page = capsys.readouterr().out
    assert f"  problem  {told}" in page and "1 problem, " in page


def test_an_unknown_preset_is_a_problem_that_names_the_known_ones(project, capsys):
    assert main(["labtop"]) == 1
    assert "did you mean laptop?" in capsys.readouterr().out


def test_another_folder_than_the_project_s_is_a_problem(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([]) == 1
    assert "run this in the project's folder" in capsys.readouterr().out


@pytest.mark.parametrize(("needed", "mark"), [(7e9, "ok"), (9e9, "warning"), (11e9, "problem")])
def test_space_is_enough_tight_or_too_little(needed, mark):
    assert judge_space(needed, 10e9, 0.8, "so much is needed", "make room").mark == mark


def test_other_programs_are_named_with_what_they_take():
    busy = others({os.getpid(): 1.0, 1: 5.0}, {os.getpid(): 3.0, 1: 5.0}, seconds=2.0, processors=2)
    assert busy.mark == "warning"
    assert "other programs take 1.0 of 2 processors" in busy.text and f"(pid {os.getpid()})" in busy.text
    assert others({1: 5.0}, {1: 5.1}, seconds=2.0, processors=2).mark == "ok"


def test_a_package_of_another_version_is_named(tmp_path):
    lock = tmp_path / "requirements.lock"
    lock.write_text("numpy==1.0\nno-such-package==1.0\n", encoding="utf-8")
    (found,) = package_findings(lock)
    assert found.mark == "warning" and "numpy 2." in found.text and "no-such-package none instead of 1.0" in found.text


def test_all_stages_of_the_dag_have_a_time(repository):
    from tests.test_shape import STAGES

    assert set(all_stages(read_params(repository / "presets/laptop.yaml"))) == set(STAGES) - {"look"}
