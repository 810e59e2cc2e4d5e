import os
import re
import subprocess
import sys

import pytest
from dvc.utils.hydra import apply_overrides

from stages.params import load, read_params
from stages.preset import apply_preset, flatten, overlay, render

PRESETS = ("laptop", "lesson", "coursework", "coursework-best", "coursework-rehearsal", "smoke")


@pytest.fixture
def params(tmp_path, repository, monkeypatch):
    """A params.yaml of its own, in the preset `laptop`, beside the presets."""
    (tmp_path / "presets").symlink_to(repository / "presets")
    (tmp_path / "params.yaml").write_bytes((repository / "presets/laptop.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path / "params.yaml"


def keys_and_comments(text):
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("- ")]  # entries of lists are values
    return [(line.split(":")[0], line.partition("#")[2]) for line in lines]


def test_the_committed_params_are_the_laptop_preset(repository):
    """Where a person works on another preset, the last commit counts."""
    shown = subprocess.run(["git", "show", "HEAD:params.yaml"], cwd=repository, capture_output=True)
    params = (repository / "params.yaml").read_bytes()
    laptop = (repository / "presets/laptop.yaml").read_bytes()
    assert laptop in (params, shown.stdout), (
        "python -m stages.preset laptop; after a change of defaults in params.yaml: cp params.yaml presets/laptop.yaml"
    )


@pytest.mark.parametrize("name", PRESETS[1:])
def test_laptop_restores_the_file_byte_for_byte_after(name, params):
    before = params.read_bytes()
    assert apply_preset(name)
    assert params.read_bytes() != before
    apply_preset("laptop")
    assert params.read_bytes() == before


def test_laptop_restores_a_file_that_is_damaged(params):
    before = params.read_bytes()
    params.write_text("train: [", encoding="utf-8")
    apply_preset("laptop")
    assert params.read_bytes() == before


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_keeps_every_key_in_order_with_its_comment(name, repository):
    folder = repository / "presets"
    assert keys_and_comments(render(name, folder)) == keys_and_comments(render("laptop", folder))


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_written_twice_changes_nothing_the_second_time(name, params):
    apply_preset(name)
    once = params.read_bytes()
    assert apply_preset(name) == []
    assert params.read_bytes() == once


@pytest.mark.parametrize("name", PRESETS)
def test_setting_one_parameter_through_dvc_changes_one_line(name, params):
    apply_preset(name)
    before = params.read_text(encoding="utf-8").splitlines()
    apply_overrides(params, ["train.lr=1e-3", "finetune.train.lr=2e-5"])
    after = params.read_text(encoding="utf-8").splitlines()
    changed = [new.split("#")[0].strip() for old, new in zip(before, after, strict=True) if old != new]
    assert changed == ["lr: 0.001", "lr: 2e-05"]


def test_a_preset_does_not_depend_on_what_stood_there_before(params):
    apply_preset("smoke")
    apply_preset("coursework")
    after_smoke = params.read_bytes()
    apply_preset("laptop")
    apply_preset("coursework")
    assert params.read_bytes() == after_smoke


def test_what_changed_is_listed_by_name(params):
    params.write_text(
        params.read_text(encoding="utf-8").replace("\nseed: 1 ", "\nseed: 7 ") + "zzz: 1\n", encoding="utf-8"
    )
    assert apply_preset("laptop") == ["seed: 7 -> 1", "zzz: 1 -> absent"]


def test_coursework_holds_the_brief_s_numbers(params):
    apply_preset("coursework")
    values = flatten(read_params(params))
    brief = {
        "model.n_layer": 12, "model.n_embd": 768, "model.n_head": 12, "model.context_length": 256,
        "model.dropout": 0.1, "model.attn_dropout": 0.1, "tokenize.vocab_size": 30000,
        "train.optimizer": "adamw", "train.lr": 3e-4, "train.weight_decay": 0.01, "train.max_norm": 1.0,
        "train.batch_size": 32, "train.epochs": 30, "train.max_steps": None, "train.schedule": "cosine",
        "download.dialogue.limit": 100_000, "download.eli5.limit": 50_000, "download.technical.limit": 30_000,
        "base.location": "mistralai/Mistral-7B-v0.3",
    }  # fmt: skip
    assert {name: values[name] for name in brief} == brief
    assert values["train.warmup"] * 30 == pytest.approx(2)  # epochs
    assert [values[f"download.{source}.providers"][0] for source in ("dialogue", "eli5", "technical")] == [
        "cornell",
        "eli5",
        "stackexchange",
    ]


def test_coursework_best_differs_from_coursework_in_the_recipe_alone(params):
    apply_preset("coursework")
    brief = flatten(read_params(params))
    apply_preset("coursework-best")
    best = flatten(read_params(params))
    changed = {name for name in brief if best[name] != brief[name]}
    assert {name.partition(".")[0] for name in changed} == {"model", "train"}
    size = {"model.n_layer", "model.n_head", "model.n_embd", "model.context_length", "train.batch_size"}
    assert changed.isdisjoint(size)


def test_the_rehearsal_differs_from_coursework_in_what_its_file_marks(params, repository):
    apply_preset("coursework")
    brief = flatten(read_params(params))
    apply_preset("coursework-rehearsal")
    rehearsal = flatten(read_params(params))
    changed = {name for name in brief if rehearsal[name] != brief[name]}
    text = (repository / "presets/coursework-rehearsal.yaml").read_text(encoding="utf-8")
    marked = re.findall(r"^ +(\w+):.*# rehearsal: ", text, re.MULTILINE)
    assert sorted(name.rpartition(".")[2] for name in changed - {"base.revision"}) == sorted(marked)
    same = {"model.n_layer", "model.context_length", "train.batch_size", "train.lr", "tokenize.vocab_size"}
    assert changed.isdisjoint(same) and not any(name.startswith("download.") for name in changed)


def test_an_unknown_preset_names_the_known_ones(params):
    known = "coursework, coursework-best, coursework-rehearsal, laptop, lesson, smoke"
    with pytest.raises(ValueError, match=rf"did you mean laptop\? \(presets: {known}\)"):
        render("labtop")


def test_a_preset_with_an_unknown_key_is_refused():
    with pytest.raises(ValueError, match=r"train.lrr is not a parameter, did you mean lr\?"):
        overlay({"train": {"lr": 1.0}}, {"train": {"lrr": 2.0}})


def test_the_command_lists_the_changes(params, repository):
    ended = subprocess.run(
        [sys.executable, "-m", "stages.preset", "smoke"],
        env={**os.environ, "PYTHONPATH": str(repository)},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    assert "base.location: " in ended.stderr
    assert load("base.location", str, params) == "tiny"


def test_the_command_without_a_name_says_how_it_is_used(params, repository):
    ended = subprocess.run(
        [sys.executable, "-m", "stages.preset"],
        env={**os.environ, "PYTHONPATH": str(repository)},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 1
    assert "presets: coursework, coursework-best, coursework-rehearsal, laptop, lesson, smoke" in ended.stderr
