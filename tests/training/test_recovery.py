import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from llm.tokens.epochs import Epochs
from llm.tokens.packing import TokenCorpus, pack_corpus
from llm.training.checkpoint import State
from llm.training.loop import begin, training_steps, validate
from llm.training.recovery import LR_CUT, MAX_ROLLBACKS, MAX_SKIPPED, is_finite
from llm.training.step import Losses
from llm.training.trainer import Trainer
from tests.tiny_runs import CPU, content, model, take_steps, train, weights
from tests.training.test_schedule import CONFIG

# Batches of one row: a batch is poisoned by the row it is made of, in every epoch anew.
STEPS = replace(CONFIG, max_steps=24, batch_size=1, micro_batch=1, eval_every=8)


@pytest.fixture(scope="module")
def packed():
    """Thirty rows of random tokens, no two alike."""
    ids = np.random.default_rng(1).integers(0, 12, 30 * 17).astype(np.uint16)
    offsets = np.arange(0, len(ids) + 1, 17)
    return pack_corpus(TokenCorpus(ids, offsets, offsets[:-1], None), 16, seed=1)


def poisoned(data, steps, what="gradient", config=STEPS):
    """A network whose gradient, or loss, is not finite for the batches of these 0-based steps."""
    network = model()
    size = config.batch_size
    rows = [Epochs(data, 1).batch(range(step * size, step * size + size)).ids for step in steps]
    hidden = network.hidden

    def poison(ids, positions=None, documents=None):
        states = hidden(ids, positions, documents)
        if network.training and any(torch.equal(ids, row) for row in rows):
            if what == "loss":
                return states * math.nan
            states.register_hook(lambda gradient: gradient * math.inf)
        return states

    network.hidden = poison
    return network


@pytest.mark.parametrize(
    ("sums", "norm", "expected"),
    [
        ([1.0, 2.0], 3.0, True),
        ([1.0, math.nan], 3.0, False),
        ([math.inf, -math.inf], 3.0, False),
        ([1.0], math.inf, False),
    ],
)
def test_a_single_number_that_is_not_finite_is_seen(sums, norm, expected):
    assert is_finite(Losses(sums, 4), norm) == expected


@pytest.mark.parametrize("what", ["gradient", "loss"])
def test_a_step_that_is_not_finite_is_skipped_and_counted(packed, tmp_path, what):
    run = Trainer(poisoned(packed, [3], what), packed, packed, STEPS, 1, CPU, State(tmp_path))
    steps = training_steps(run)
    take_steps(steps, 3)
    before, moments = weights(run.model), run.optimizers[0].state_dict()["state"]
    moments = [value.clone() for entries in moments.values() for value in entries.values()]
    tokens = run.progress.tokens
    next(steps)
    assert all(torch.equal(before[name], value) for name, value in weights(run.model).items())
    after = [value for entries in run.optimizers[0].state_dict()["state"].values() for value in entries.values()]
    assert all(torch.equal(a, b) for a, b in zip(moments, after, strict=True))
    assert (run.progress.step, run.progress.skipped_steps, run.progress.tokens) == (4, 1, tokens)
    next(steps)
    assert not torch.equal(before["tokens.weight"], weights(run.model)["tokens.weight"])
    assert run.progress.skipped_in_a_row == 0


@pytest.mark.parametrize("steps", [[0], [2, 9, 10], [23]])
def test_a_run_with_broken_batches_ends_with_finite_weights(packed, tmp_path, steps):
    trained, run = train(packed, tmp_path, STEPS, network=poisoned(packed, steps))
    assert (run.step, run.skipped_steps, run.rollbacks) == (24, len(steps), 0)
    assert all(value.isfinite().all() for value in trained.values())
    assert run.history[0]["train_loss"] is None  # of nothing that was trained on
    assert all(math.isfinite(row["train_loss"]) for row in run.history[1:])


def test_a_streak_goes_back_to_the_last_good_validation_at_a_lower_rate(packed, tmp_path):
    streak = range(11, 11 + MAX_SKIPPED)
    run = Trainer(poisoned(packed, streak), packed, packed, STEPS, 1, CPU, State(tmp_path))
    steps = training_steps(run)
    take_steps(steps, 8)
    good = weights(run.model)
    for _ in range(8, 11 + MAX_SKIPPED):
        next(steps)
    assert (run.progress.step, run.progress.rollbacks, run.progress.good_step) == (16, 1, 16)
    assert all(torch.equal(good[name], value) for name, value in weights(run.model).items())
    run.config = replace(STEPS, warmup=0.0, schedule="stable", decay=0.0)
    next(steps)
    assert run.progress.lr == STEPS.lr * LR_CUT


def test_too_many_rollbacks_end_the_run_with_advice(packed, tmp_path):
    with pytest.raises(ValueError, match=f"after {MAX_ROLLBACKS} rollbacks .*: lower lr or max_norm"):
        train(packed, tmp_path, STEPS, network=poisoned(packed, range(24)))


def test_a_model_that_is_broken_at_the_start_is_refused(packed, tmp_path):
    network = model()
    with torch.no_grad():
        network.tokens.weight.fill_(math.nan)
    with pytest.raises(ValueError, match="no finite loss before its first step"):
        train(packed, tmp_path, STEPS, network=network)


def test_a_validation_that_is_not_finite_goes_back(packed, tmp_path):
    run = Trainer(model(), packed, packed, STEPS, 1, CPU, State(tmp_path))
    begin(run)
    good = weights(run.model)
    with torch.no_grad():
        run.model.tokens.weight.fill_(math.inf)
    validate(run)
    assert run.progress.rollbacks == 1
    assert all(torch.equal(good[name], value) for name, value in weights(run.model).items())


@pytest.mark.parametrize("stop", [12, 15, 17])  # within the streak, at its last step, behind it
def test_a_run_that_rolls_back_resumes_bit_identical(packed, tmp_path, stop):
    config, streak = replace(STEPS, ema=0.9), range(11, 11 + MAX_SKIPPED)
    straight, run = train(packed, tmp_path / "straight", config, network=poisoned(packed, streak))
    assert (run.skipped_steps, run.rollbacks) == (MAX_SKIPPED, 1)
    first = Trainer(poisoned(packed, streak), packed, packed, config, 1, CPU, State(tmp_path / "cut"))
    take_steps(training_steps(first), stop)  # a state is saved after each
    resumed, run_resumed = train(packed, tmp_path / "cut", config, network=poisoned(packed, streak))
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)
    assert run_resumed.summary() == run.summary()
    assert content(tmp_path / "cut/best.safetensors") == content(tmp_path / "straight/best.safetensors")


def taught_by(row):
    """Rows of random tokens of which this one has nothing to learn."""
    ids = np.random.default_rng(1).integers(0, 12, 30 * 17).astype(np.uint16)
    offsets = np.arange(0, len(ids) + 1, 17)
    supervised = np.ones(len(ids), bool)
    rows = pack_corpus(TokenCorpus(ids, offsets, offsets[:-1], supervised), 16, seed=1)
    supervised[rows.rows.start[row] : rows.rows.stop[row] + 1] = False
    return rows


@pytest.mark.parametrize("streak", [False, True])
def test_a_batch_without_a_supervised_token_changes_nothing_and_is_counted(tmp_path, streak):
    _, row = Epochs(taught_by(0), 1).place(3)
    data = taught_by(row)
    assert (data.batch([row]).targets < 0).all()
    run = Trainer(model(), data, data, replace(STEPS, ema=0.9, val_rows=8), 1, CPU, State(tmp_path))
    steps = training_steps(run)
    take_steps(steps, 3)
    before, tokens = weights(run.model), run.progress.tokens
    run.progress.skipped_in_a_row = 2 * streak
    next(steps)
    assert all(torch.equal(before[name], value) for name, value in weights(run.model).items())
    progress = run.progress
    assert (progress.step, progress.empty_steps, progress.skipped_steps, progress.tokens) == (4, 1, 0, tokens)
    assert progress.skipped_in_a_row == 2 * streak
    for _ in steps:
        pass
    assert (progress.step, progress.summary()["empty_steps"]) == (24, 1)
    assert math.isfinite(progress.history[-1]["train_loss"])
