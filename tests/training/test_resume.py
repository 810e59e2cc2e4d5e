import logging
from dataclasses import replace

import pytest
import torch

from llm.models.kernel_choice import TABLE, kernels_in_use
from llm.models.registry import build_model
from llm.training.checkpoint import State
from llm.training.loop import fit, training_steps
from llm.training.resume import resume, save_state
from llm.training.trainer import Trainer
from tests.machines.doubles import Machine, pretended
from tests.tiny_runs import CPU, SHAPE, content, counting_rows, model, take_steps, train, weights
from tests.training.test_schedule import CONFIG


@pytest.fixture
def packed():
    """The tiny data of all training tests."""
    return counting_rows()


@pytest.mark.parametrize(
    "changes",
    [{"optimizer": "adamw"}, {"optimizer": "muon"}, {"optimizer": "normuon"}, {"ema": 0.9}, {"micro_batch": None}],
    ids=str,
)
def test_a_run_stopped_at_any_step_and_resumed_is_bit_identical(packed, tmp_path, changes):
    config = replace(CONFIG, max_steps=8, eval_every=3, **changes)
    straight, run = train(packed, tmp_path / "straight", config)
    for stop in (1, 3, 7):
        folder = tmp_path / f"stop{stop}"
        first = Trainer(model(), packed, packed, config, 1, CPU, State(folder))
        take_steps(training_steps(first), stop)
        save_state(first)
        torch.manual_seed(999)  # a new process has another random state
        network = build_model(SHAPE, 12, torch.Generator().manual_seed(7))
        resumed = fit(network, packed, packed, config, 1, CPU, State(folder))
        assert all(torch.equal(straight[name], value) for name, value in weights(network).items())
        assert resumed.history == run.history
        assert (folder / "best.safetensors").read_bytes() == (tmp_path / "straight/best.safetensors").read_bytes()


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


@pytest.mark.parametrize(("stop", "taken"), [(128, None), (80, 64), (63, 63)])
def test_a_run_shortened_from_40_to_20_epochs_equals_a_straight_one(packed, tmp_path, caplog, stop, taken):
    config = replace(CONFIG, batch_size=20, micro_batch=20, max_steps=None, epochs=40, schedule_epochs=40)
    config = replace(config, eval_every=32, checkpoint_every=10, keep=2, state_every_s=1e4)
    straight, run = train(packed, tmp_path / "straight", replace(config, epochs=20))
    longer = Trainer(model(), packed, packed, config, 1, CPU, State(tmp_path / "cut"))
    take_steps(training_steps(longer), stop)
    save_state(longer)
    assert (longer.plan.steps, longer.progress.step) == (128, stop)
    with caplog.at_level(logging.INFO):
        shorter, run_shorter = train(packed, tmp_path / "cut", replace(config, epochs=20))
    assert all(torch.equal(straight[name], value) for name, value in shorter.items())
    assert run_shorter.summary() == run.summary() and run_shorter.history == run.history
    assert content(tmp_path / "straight/best.safetensors") == content(tmp_path / "cut/best.safetensors")
    checkpoints = [content(tmp_path / name / "checkpoints") for name in ("straight", "cut")]
    assert checkpoints[1] == ({} if stop == 80 else checkpoints[0])  # the longer run kept only those of 70 and 80
    assert ("going on from step" in caplog.text) == (taken is not None)
    assert taken is None or f"going on from step {taken}" in caplog.text
    assert (f"up to step {stop}, are deleted: this one ends at 64" in caplog.text) == (stop > 64)


@pytest.mark.parametrize("stops", [(1, 2), (2, 5, 7), (9, 17, 18), (3, 4, 11, 16)], ids=str)
def test_a_run_stopped_again_and_again_is_bit_identical(packed, tmp_path, stops):
    """Twice within an epoch of eight steps, and in several epochs."""
    config = replace(CONFIG, optimizer="muon", batch_size=8, micro_batch=4, ema=0.9, eval_every=3, checkpoint_every=4)
    straight, run = train(packed, tmp_path / "straight", config)
    for stop in stops:
        torch.manual_seed(999)
        cut = Trainer(model(), packed, packed, config, 1, CPU, State(tmp_path / "cut"))
        steps = training_steps(cut)
        next(steps)
        take_steps(steps, stop - cut.progress.step - 1)
        assert cut.progress.step == stop
    resumed, run_resumed = train(packed, tmp_path / "cut", config)
    assert all(torch.equal(straight[name], value) for name, value in resumed.items())
    assert run_resumed.summary() == run.summary() and run_resumed.history == run.history
    for name in ("best.safetensors", "checkpoints"):
        assert content(tmp_path / "straight" / name) == content(tmp_path / "cut" / name)


def test_without_a_saved_state_nothing_is_resumed(packed, tmp_path):
    run = Trainer(model(), packed, packed, CONFIG, 1, CPU, State(tmp_path))
    before = weights(run.model)
    assert not resume(run) and run.progress.step == 0
    assert all(torch.equal(before[name], value) for name, value in weights(run.model).items())


@pytest.mark.parametrize("threads", [1, 2])
def test_a_resumed_run_goes_on_with_the_kernels_and_threads_of_its_state(packed, tmp_path, caplog, threads):
    """On another processor other kernels would be chosen, and the weights would differ in the last bits."""
    config, before = replace(CONFIG, max_steps=8, eval_every=3), torch.get_num_threads()
    shape = replace(SHAPE, attn_dropout=0.1)  # of dropout our masks are others than torch's
    try:
        torch.set_num_threads(threads)
        with pretended(Machine("AuthenticAMD", "AVX2")):
            straight, run = train(packed, tmp_path / "straight", config, shape)
            first = Trainer(model(shape), packed, packed, config, 1, CPU, State(tmp_path / "stopped"))
            take_steps(training_steps(first), 4)
            save_state(first)
        torch.set_num_threads(3 - threads)
        with pretended(Machine("GenuineIntel", "AVX2")), caplog.at_level("INFO"):
            resumed, run_resumed = train(packed, tmp_path / "stopped", config, shape)
            assert torch.get_num_threads() == threads
            assert kernels_in_use() == TABLE["AuthenticAMD", "AVX2"]
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(straight[name], value) for name, value in resumed.items())
    assert run_resumed.history == run.history
    kernels = "our attention with dropout, our rotation, our RMSNorm, our dropout"
    assert (
        f"going on with the kernels and threads of the saved state ({kernels}; {threads}) "
        f"instead of (torch's own; {3 - threads})" in caplog.messages
    )


def test_a_state_of_the_same_machine_changes_nothing_and_says_nothing(packed, tmp_path, caplog):
    train(packed, tmp_path, CONFIG)
    with caplog.at_level("INFO"):
        train(packed, tmp_path, CONFIG)
    assert not any("instead of" in message for message in caplog.messages)
