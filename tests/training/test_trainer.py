from dataclasses import replace

import pytest

from llm.training.checkpoint import State
from llm.training.schedule import lr_factor
from llm.training.trainer import Trainer
from tests.tiny_runs import CPU, counting_rows, model
from tests.training.test_schedule import CONFIG


@pytest.fixture
def trainer(tmp_path):
    """A run of 20 steps that has taken none."""
    packed = counting_rows()
    return Trainer(model(), packed, packed, CONFIG, 1, CPU, State(tmp_path))


def test_the_next_rows_are_those_of_the_step(trainer):
    for step in (0, 7):
        trainer.progress.step = step
        assert list(trainer.next_rows) == list(range(step * CONFIG.batch_size, (step + 1) * CONFIG.batch_size))


def test_the_next_rate_is_the_schedules_lowered_by_rollbacks(trainer):
    trainer.progress.step, trainer.progress.lr_scale = 12, 0.25
    assert trainer.next_lr == CONFIG.lr * lr_factor(12, 20, CONFIG) * 0.25


@pytest.mark.parametrize(("step", "ended"), [(0, False), (19, False), (20, True), (21, True)])
def test_a_run_of_20_steps_ends_after_20(trainer, step, ended):
    trainer.progress.step = step
    assert trainer.ended == ended


def test_a_run_without_time_takes_one_step(tmp_path):
    packed, config = counting_rows(), replace(CONFIG, max_steps=None, budget_s=1.0)
    run = Trainer(model(), packed, packed, config, 1, CPU, State(tmp_path))
    run.clock.closing_s = 2.0
    assert not run.ended
    run.progress.step = 1
    assert run.ended
