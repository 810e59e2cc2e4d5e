import itertools
import math
import os
import signal
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from llm.models.registry import build_model
from llm.training.checkpoint import State, open_state
from llm.training.history import write_curve
from llm.training.loop import Training
from llm.training.step import validation_loss
from llm.training.train import fit
from tests.tiny_runs import CPU, SHAPE, content, counting_rows, model, train, weights
from tests.training.test_schedule import CONFIG


@pytest.fixture
def packed():
    return counting_rows()


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
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


@pytest.mark.parametrize(
    "changes", [{"optimizer": "adamw"}, {"optimizer": "muon"}, {"ema": 0.9}, {"micro_batch": None}], ids=str
)
def test_a_run_stopped_at_any_step_and_resumed_is_bit_identical(packed, tmp_path, changes):
    config = replace(CONFIG, max_steps=8, eval_every=3, **changes)
    straight, run = train(packed, tmp_path / "straight", config)
    for stop in (1, 3, 7):
        folder = tmp_path / f"stop{stop}"
        first = Training(model(), packed, packed, config, 1, CPU, State(folder))
        first.begin()
        for _ in range(stop):
            first.step()
            first.close_step(stopping=False)
        first.save_state()
        torch.manual_seed(999)  # a new process has another random state
        network = build_model(SHAPE, 12, torch.Generator().manual_seed(7))
        resumed = fit(network, packed, packed, config, 1, CPU, State(folder))
        assert all(torch.equal(straight[name], value) for name, value in weights(network).items())
        assert resumed.history == run.history
        assert (folder / "best.safetensors").read_bytes() == (tmp_path / "straight/best.safetensors").read_bytes()


def test_every_split_of_the_batch_ends_at_the_same_losses(packed, tmp_path):
    still, config = replace(SHAPE, dropout=0.0), replace(CONFIG, batch_size=12)
    runs = {
        size: train(packed, tmp_path / str(size), replace(config, micro_batch=size), still)[1]
        for size in (1, 2, 3, 4, 6, 12)
    }
    for run in runs.values():
        assert run.best_loss == pytest.approx(runs[12].best_loss, abs=1e-6)
        assert run.tokens == runs[12].tokens


def test_best_weights_are_those_of_the_lowest_validation_loss(packed, tmp_path):
    _, run = train(packed, tmp_path)
    network = model()
    network.load_state_dict(load_file(tmp_path / "best.safetensors"))
    assert validation_loss(network, packed, None, 4, CPU) == pytest.approx(run.best_loss, abs=1e-6)
    assert run.best_loss == pytest.approx(min(row["val_loss"] for row in run.history), abs=1e-4)


def test_periodic_checkpoints_are_thinned_to_keep(packed, tmp_path):
    train(packed, tmp_path, replace(CONFIG, checkpoint_every=5, keep=2))
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == [f"step_{n:08d}.{kind}" for n in (15, 20) for kind in ("optim", "safetensors")]


def test_keep_0_keeps_no_periodic_checkpoint(packed, tmp_path):
    train(packed, tmp_path, replace(CONFIG, checkpoint_every=5, keep=0))
    assert list((tmp_path / "checkpoints").iterdir()) == []


@pytest.mark.parametrize("eval_every", [None, 7])  # 7: the shorter run ends between two validations
def test_a_run_extended_from_30_to_40_epochs_equals_a_straight_one(packed, tmp_path, eval_every):
    lengths = {"max_steps": None, "epochs": 30, "schedule_epochs": 40, "eval_every": eval_every}
    config = replace(CONFIG, batch_size=20, micro_batch=20, **lengths)
    straight, run = train(packed, tmp_path / "straight", replace(config, epochs=40))
    train(packed, tmp_path / "extended", config)
    extended, run_extended = train(packed, tmp_path / "extended", replace(config, epochs=40))
    assert all(torch.equal(straight[name], extended[name]) for name in straight)
    assert run_extended.history == run.history
    for name in ("best.safetensors", "checkpoints"):
        assert content(tmp_path / "straight" / name) == content(tmp_path / "extended" / name)


def test_only_parameters_that_require_a_gradient_move(packed, tmp_path):
    network = model()
    network.tokens.weight.requires_grad_(False)
    before = weights(network)
    fit(network, packed, packed, replace(CONFIG, max_steps=2), 1, CPU, State(tmp_path))
    assert torch.equal(before["tokens.weight"], network.tokens.weight)
    assert not torch.equal(before["positions.weight"], network.positions.weight)
    assert "tokens.weight" not in load_file(tmp_path / "best.safetensors")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_the_state_and_stops(packed, tmp_path, monkeypatch, number):
    step = Training.step

    def step_and_signal(self):
        step(self)
        if self.progress.step == 4:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(Training, "step", step_and_signal)
    with pytest.raises(KeyboardInterrupt, match="run the same command again"):
        train(packed, tmp_path, replace(CONFIG, state_every_s=999.0))
    _, values = State(tmp_path).load()
    assert values["step"] == 4


def test_the_curve_is_a_csv_with_a_row_per_validation(packed, tmp_path):
    with open_state(tmp_path, "scratch", "k") as state:
        run = fit(model(), packed, packed, CONFIG, 1, CPU, state)
    write_curve(tmp_path / "curve.csv", run.history)
    lines = (tmp_path / "curve.csv").read_text().splitlines()
    assert lines[0] == "step,epoch,tokens,lr,train_loss,val_loss,val_ppl"
    assert [line.split(",")[0] for line in lines[1:]] == ["0", "5", "10", "15", "20"]


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
    first = Training(model(), packed, packed, BUDGET, 1, CPU, State(tmp_path))
    first.begin()
    while first.clock.seconds < 2.5:
        first.step()
    first.save_state()
    _, run = train(packed, tmp_path, BUDGET)
    assert run.seconds == pytest.approx(4.0, rel=0.05)
    assert run.step > first.progress.step and run.lr < 0.01 * BUDGET.lr


def test_a_budget_that_a_single_validation_uses_up_is_refused(packed, tmp_path):
    run = Training(model(), packed, packed, BUDGET, 1, CPU, State(tmp_path))
    run.clock.closing_s = 4.5
    with pytest.raises(ValueError, match=r"budget_s 4\.0 does not suffice for a step"):
        run.begin()
