import itertools
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from llm.training.checkpoint import State
from llm.training.loop import begin, fit, training_steps
from llm.training.resume import save_state
from llm.training.trainer import Trainer
from tests.tiny_runs import CPU, SHAPE, content, counting_rows, model, train, weights
from tests.training.test_schedule import CONFIG


@pytest.fixture
def packed():
    """The tiny data of all training tests."""
    return counting_rows()


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "normuon"])
@pytest.mark.parametrize("architecture", ["gpt2", "llama", "qwen3"])
def test_training_lowers_the_loss(packed, tmp_path, optimizer, architecture):
    _, run = train(
        packed, tmp_path, replace(CONFIG, optimizer=optimizer, max_steps=60), replace(SHAPE, architecture=architecture)
    )
    assert run.history[0]["val_loss"] == pytest.approx(math.log(12), rel=0.05)  # untrained: about uniform
    assert run.history[-1]["val_loss"] < 0.7 * run.history[0]["val_loss"]


def test_equal_seeds_give_equal_weights_and_metrics(packed, tmp_path):
    (one, run_one), (two, run_two) = train(packed, tmp_path / "a"), train(packed, tmp_path / "b")
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert run_one.history == run_two.history


def test_every_split_of_the_batch_ends_at_the_same_losses(packed, tmp_path):
    still, config = replace(SHAPE, dropout=0.0), replace(CONFIG, batch_size=12)
    runs = {
        size: train(packed, tmp_path / str(size), replace(config, micro_batch=size), still)[1]
        for size in (1, 2, 3, 4, 6, 12)
    }
    for run in runs.values():
        assert run.best_loss == pytest.approx(runs[12].best_loss, abs=1e-6)
        assert run.tokens == runs[12].tokens


def test_only_parameters_that_require_a_gradient_move(packed, tmp_path):
    network = model()
    network.tokens.weight.requires_grad_(False)
    before = weights(network)
    fit(network, packed, packed, replace(CONFIG, max_steps=2), 1, CPU, State(tmp_path))
    assert torch.equal(before["tokens.weight"], network.tokens.weight)
    assert not torch.equal(before["positions.weight"], network.positions.weight)
    assert "tokens.weight" not in load_file(tmp_path / "best.safetensors")


def test_averaged_weights_are_validated_saved_as_best_and_final(tmp_path):
    packed, config = (
        counting_rows(),
        replace(CONFIG, ema=0.9, lr=3e-2, max_steps=24, batch_size=1, micro_batch=1, eval_every=8),
    )
    network = model(replace(SHAPE, dropout=0.0))
    averaged, run = train(packed, tmp_path / "on", config, network=network)
    raw, _ = train(packed, tmp_path / "off", replace(config, ema=0.0), shape=replace(SHAPE, dropout=0.0))
    tensors, _ = State(tmp_path / "on").load()
    assert all(torch.equal(tensors[f"model.{name}"], value) for name, value in raw.items())  # training is the same
    assert all(torch.equal(tensors[f"average.{name}"], value) for name, value in averaged.items())
    assert not torch.equal(averaged["tokens.weight"], raw["tokens.weight"])
    assert run.best_step == 24
    assert content(tmp_path / "on/best.safetensors") != content(tmp_path / "off/best.safetensors")


BUDGET = replace(CONFIG, max_steps=None, budget_s=4.0, state_every_s=0.5, eval_every=40, warmup=0.0, final_lr=0.0)


@pytest.fixture
def ticking(monkeypatch):
    """A clock on which 10 ms pass with every look at it, however busy the machine is."""
    looks = itertools.count()
    monkeypatch.setattr("llm.training.clock.time", SimpleNamespace(monotonic=lambda: 0.01 * next(looks)))


def test_a_time_boxed_run_ends_annealed_within_5_percent_of_its_budget(packed, tmp_path, ticking):
    _, run = train(packed, tmp_path, BUDGET)
    assert run.seconds == pytest.approx(4.0, rel=0.05)
    assert run.lr < 0.01 * BUDGET.lr  # half a cosine is there after 94 % of the time
    assert run.step > 20 and run.history[-1]["step"] == run.step
    again = train(packed, tmp_path, BUDGET)[1]
    assert (again.step, again.history) == (run.step, run.history)  # its time is over: nothing is added


def test_a_time_boxed_run_goes_on_with_the_time_that_is_left(packed, tmp_path, ticking):
    first = Trainer(model(), packed, packed, BUDGET, 1, CPU, State(tmp_path))
    steps = training_steps(first)
    next(steps)
    while first.clock.seconds < 2.5:
        next(steps)
    save_state(first)
    _, run = train(packed, tmp_path, BUDGET)
    assert run.seconds == pytest.approx(4.0, rel=0.05)
    assert run.step > first.progress.step and run.lr < 0.01 * BUDGET.lr


def test_a_budget_that_a_single_validation_uses_up_is_refused(packed, tmp_path):
    run = Trainer(model(), packed, packed, BUDGET, 1, CPU, State(tmp_path))
    run.clock.closing_s = 4.5
    with pytest.raises(ValueError, match=r"budget_s 4\.0 does not suffice for a step"):
        begin(run)
