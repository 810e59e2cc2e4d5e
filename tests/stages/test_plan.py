import os
import re
import subprocess
import sys

import pytest
import yaml

from llm.commands import COMMANDS
from stages import plan
from stages.estimate import REFERENCE_GFLOPS, stage_seconds
from stages.params import read_params
from stages.plan import describe_plan, duration, plan_lines, stages_to_run
from stages.preset import render
from stages.speed import measure_speed
from tests.test_shape import STAGES

# DVC's own: pygtrie will drop what it calls
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value will soon:DeprecationWarning")

# A stage that always writes the same, and two that follow it, the second by the first one's output.
TINY_DAG = """\
stages:
  check_params:
    cmd: echo valid > checked
    params: [params.yaml: ]
    outs: [checked]
  first:
    cmd: python -c "import yaml; open('a', 'w').write(str(yaml.safe_load(open('params.yaml'))['a']))"
    params: [a]
    deps: [checked]
    outs: [a]
  second:
    cmd: cp a b
    params: [b]
    deps: [checked, a]
    outs: [b]
"""
PRESETS = ("laptop", "lesson", "smoke", "coursework", "coursework-best", "coursework-rehearsal")


def dvc(folder, *words):
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    command = [sys.executable, "-m", "dvc", *words, "-q"]
    subprocess.run(command, cwd=folder, env=os.environ | {"PATH": path}, check=True)


def write_params(folder, **values):
    (folder / "params.yaml").write_text(yaml.safe_dump({"a": 1, "b": 1} | values), encoding="utf-8")


@pytest.fixture
def pipeline(tmp_path, monkeypatch):
    """A folder with TINY_DAG in which nothing has run."""
    dvc(tmp_path, "init", "--no-scm")
    (tmp_path / "dvc.yaml").write_text(TINY_DAG, encoding="utf-8")
    write_params(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def preset(repository, tmp_path, name):
    path = tmp_path / "params.yaml"
    path.write_text(render(name, repository / "presets"), encoding="utf-8")
    return read_params(path)


def test_the_plan_names_the_stages_that_dvc_runs(pipeline):
    assert stages_to_run() == ["check_params", "first", "second"]
    dvc(pipeline, "repro")
    assert stages_to_run() == []
    write_params(pipeline, b=2)
    assert stages_to_run() == ["check_params", "second"]
    write_params(pipeline, a=2)
    assert stages_to_run() == ["check_params", "first", "second"]


def test_what_dvc_has_kept_is_not_in_the_plan(pipeline):
    dvc(pipeline, "repro")
    write_params(pipeline, a=2)
    dvc(pipeline, "repro")
    write_params(pipeline)
    assert stages_to_run() == []
    write_params(pipeline, b=2)
    assert stages_to_run() == ["check_params", "second"]
    (pipeline / "b").unlink()
    write_params(pipeline, a=2)
    assert stages_to_run() == []


# What differs in an older preset, with which a slow processor was timed.
OLDER = {
    "model": {"n_layer": 4, "n_head": 6, "n_embd": 192},
    "train": {"max_steps": 2200, "batch_size": 16, "micro_batch": 16},
    "finetune": {"train_tokens": 36_000},
}


@pytest.mark.parametrize(
    "slower, changed, known",
    [(1.0, {}, (248, 65, 151)), (1.69, {}, (410, 107, 223)), (3.4, OLDER, (1218, 390, 550))],
)
def test_the_estimate_meets_what_was_timed_on_three_machines(repository, tmp_path, slower, changed, known):
    """AVX-512 at 200 GFLOP/s, the same held to AVX2, and a slower processor that has AVX2 only."""
    params = preset(repository, tmp_path, "laptop")
    for section, values in changed.items():
        params[section] |= values
    for stage, seconds in zip(("train_scratch", "finetune_mistral", "evaluate"), known, strict=True):
        assert seconds / 1.5 < stage_seconds(stage, params, REFERENCE_GFLOPS / slower) < 1.5 * seconds


@pytest.mark.parametrize("name", PRESETS)
def test_every_stage_of_every_preset_has_an_estimate(repository, tmp_path, name):
    params = preset(repository, tmp_path, name)
    unknown = {stage for stage in STAGES if stage_seconds(stage, params, REFERENCE_GFLOPS) is None}
    fetched = {stage for stage in STAGES if stage.startswith("download@")} if "coursework" in name else set()
    assert unknown == fetched | ({"download_base"} if name in ("coursework", "coursework-best") else set())


def test_the_estimate_follows_the_parameters(repository, tmp_path):
    params = preset(repository, tmp_path, "laptop")
    before = stage_seconds("train_scratch", params, REFERENCE_GFLOPS)
    params["train"]["max_steps"] *= 2
    assert stage_seconds("train_scratch", params, REFERENCE_GFLOPS) == pytest.approx(2 * before, rel=0.05)


def test_a_training_of_weeks_is_called_that(repository, tmp_path):
    # 30 epochs of 27 million tokens through 108 million weights: 5e17 operations
    params = preset(repository, tmp_path, "coursework")
    seconds = stage_seconds("train_scratch", params, REFERENCE_GFLOPS)
    assert 20 * 86_400 < seconds < 60 * 86_400
    assert duration(seconds).endswith("days")


def test_nothing_is_said_of_a_base_model_of_unknown_size(repository, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    params = preset(repository, tmp_path, "laptop")
    params["base"]["location"] = "someone/model"
    assert stage_seconds("finetune_mistral", params, REFERENCE_GFLOPS) is None
    assert stage_seconds("evaluate", params, REFERENCE_GFLOPS) is None


def test_the_sum_says_that_it_is_not_all():
    assert plan_lines({"download_base": None, "evaluate": 150.0}, {})[-1].split()[:5] == [
        *("in", "all", "at", "least", "2")
    ]


def test_no_time_is_said_of_a_gpu(repository, tmp_path, monkeypatch):
    params = preset(repository, tmp_path, "laptop")
    monkeypatch.setattr("llm.machine.pick_device", lambda name: type("Device", (), {"type": "cuda"}))
    monkeypatch.setattr(plan, "stages_to_run", lambda: ["train_scratch"])
    monkeypatch.setattr(plan, "read_params", lambda: params)
    assert describe_plan() == ["to run: train_scratch; how long on cuda is not known"]


def test_the_speed_is_that_of_the_threads_in_use():
    import torch

    speed = measure_speed(limit_s=0.1)
    assert speed.threads == torch.get_num_threads()
    assert speed.gflops > 0


def test_a_failure_is_one_line_and_stops_nothing(repository, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "stages.plan"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(repository)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.startswith("what will run, and for how long, cannot be said beforehand: ")
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


def test_make_shows_the_plan_before_it_runs_it_and_runs_it_whatever_that_says(repository):
    recipe = re.search(
        r"^all: install\n((\t.*\n)+)", (repository / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )
    plan_line, run_line, *closing = recipe[1].splitlines()
    assert plan_line == "\t-@python -m stages.plan"  # make goes on after a command with -
    assert run_line.endswith("dvc repro")
    assert all(line.startswith("\t@echo") for line in closing)


def test_make_ends_with_what_to_look_at_and_do_next(repository):
    lines = re.findall(r"^\t@echo '(.*)'$", (repository / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(lines) == 3
    files = re.findall(r"(?:metrics|notebooks|docs)/[\w.]+", " ".join(lines))
    tracked = subprocess.run(["git", "ls-files"], cwd=repository, capture_output=True, text=True).stdout.splitlines()
    assert files and set(files) <= {*tracked, "metrics/report.html"}
    commands = re.findall(r"python -m llm ([\w-]+)", " ".join(lines))
    assert commands and set(commands) <= set(COMMANDS)
