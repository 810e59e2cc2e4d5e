"""The space file: what is read of it, and what is refused."""

import subprocess

import pytest
import yaml

from llm.sweeps.space import set_params
from stages.sweep import read_space

SPACE = {
    "study": "tiny",
    "objective": "scratch.val_loss",
    "trials": 12,
    "steps": 12,
    "budget_s": None,
    "sampler": "tpe",
    "seed": 1,
    "pruner": "median",
    "startup": 4,
    "spared": 1,
    "fixed": {"finetune.enabled": False, "train.eval_every": 3},
    "space": {
        "log_uniform": {"train.lr": [1e-4, 3e-2]},
        "uniform": {"train.warmup": [0.01, 0.3]},
        "integers": {"model.n_layer": [1, 3]},
        "choices": {"train.beta2": [0.9, 0.99]},
    },
}


def read(folder, repository, monkeypatch, **changes):
    monkeypatch.chdir(repository)
    path = folder / "space.yaml"
    path.write_text(yaml.safe_dump(SPACE | changes), encoding="utf-8")
    return read_space(path)


def test_the_example_is_a_space(repository, monkeypatch):
    monkeypatch.chdir(repository)
    config = read_space(repository / "docs/example/sweep.yaml")
    assert (config.target, config.length()["train.max_steps"], config.trials) == ("train_scratch", 580, 20)


def test_a_trial_of_validation_loss_only_trains_and_one_of_a_figure_is_evaluated(tmp_path, repository, monkeypatch):
    config = read(tmp_path, repository, monkeypatch)
    assert (config.target, config.lower_is_better) == ("train_scratch", True)
    config = read(tmp_path, repository, monkeypatch, objective="mistral.text.chrf", pruner="none", fixed={})
    assert (config.target, config.lower_is_better) == ("evaluate", False)
    assert config.length() == {
        "finetune.train.epochs": None, "finetune.train.max_steps": 12, "finetune.train.budget_s": None
    }  # fmt: skip


def space(**changes):
    return {"space": SPACE["space"] | changes}


REFUSED = [
    ({"trails": 3}, "trails .* is not a parameter, did you mean trials"),
    ({"steps": None}, "exactly one must be a number"),
    ({"study": "a/b"}, "study is 'a/b', allowed"),
    ({"objective": "gpt5.val_loss"}, "objective is gpt5.val_loss, allowed"),
    ({"objective": "scratch.text.chrf"}, "better the higher: set pruner to none"),
    ({"pruner": "hyperband"}, "pruner is 'hyperband'.*allowed: median, none"),
    ({"fixed": {"train.max_steps": 3}}, "train.max_steps is set by steps or budget_s"),
    ({"fixed": {"train.lr": 0.1}}, "train.lr stands in fixed and in space"),
    ({"fixed": {"train.lrr": 0.1}}, r"train.lrr is not a parameter, did you mean train.lr\?"),
    ({"fixed": {"train.lr": [1, 2]}}, r"fixed.train.lr holds \[1, 2\], allowed: numbers"),
    (space(log_uniform={"train.lr": [0.0, 1.0]}), "allowed: low, then high above 0"),
    (space(log_uniform={"train.lr": [1e-3, 99.0]}), "train.lr is 99.0, allowed: 1e-09 to 10.0"),
    (space(integers={"model.n_layer": [1.5, 2]}), "space.integers.model.n_layer.* is 1.5, a number, allowed: a whole"),
    (space(choices={"model.architecture": ["gpt2", "rnn"]}), "model.architecture is 'rnn'.*allowed: gpt2"),
    (space(choices={"train.beta2": [0.9]}), "two or more different values"),
    (space(choices={"train.beta2": [0.9, None]}), "space.choices.train.beta2 holds None, allowed: numbers"),
    (space(choices={"train.lr": [0.1, 0.2]}), "space names train.lr twice"),
    ({"space": {"log_uniform": {}, "uniform": {}, "integers": {}, "choices": {}}}, "space names no parameter"),
]


@pytest.mark.parametrize(("changes", "told"), REFUSED)
def test_what_is_wrong_is_refused_with_what_is_allowed(changes, told, tmp_path, repository, monkeypatch):
    with pytest.raises(ValueError, match=told):
        read(tmp_path, repository, monkeypatch, **changes)


def test_every_end_and_every_choice_is_tried_on_the_parameters(tmp_path, repository, monkeypatch):
    corners = list(read(tmp_path, repository, monkeypatch).space.corners())
    assert {corner["train.lr"] for corner in corners} == {1e-4, 3e-2}
    assert {corner["train.beta2"] for corner in corners} == {0.9, 0.99}


def test_dvc_reads_each_value_as_it_was_meant(tmp_path):
    """By its own reader of -S, in a file of its own."""
    from dvc.utils.hydra import apply_overrides

    values = {"a": 1e-05, "b": None, "c": True, "d": "it's, {odd}", "e": 3}
    path = tmp_path / "params.yaml"
    path.write_text("a: 1\nb: 1\nc: 1\nd: 1\ne: 1\n", encoding="utf-8")
    apply_overrides(path, set_params(values)[1::2])
    from stages.params import read_params

    assert read_params(path) == values


def test_a_sweep_without_optuna_says_what_to_install(repository):
    code = "import sys; sys.modules['optuna'] = None; from llm.sweeps.study import check_installed as c; c()"
    done = subprocess.run(["python", "-c", code], cwd=repository, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1].endswith("a sweep needs Optuna: python -m pip install optuna==5.0.0")


def test_no_seed_is_searched_and_no_model_that_is_not_trained(tmp_path, repository, monkeypatch):
    with pytest.raises(ValueError, match=r"seed is no parameter to search: the lucky one would win"):
        read(tmp_path, repository, monkeypatch, space={**SPACE["space"], "integers": {"seed": [1, 5]}})
    with pytest.raises(ValueError, match=r"the objective is mistral.val_loss, and finetune.enabled is false"):
        read(tmp_path, repository, monkeypatch, objective="mistral.val_loss", fixed={"finetune.enabled": False})
