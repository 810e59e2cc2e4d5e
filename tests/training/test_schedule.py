from dataclasses import asdict, replace

import pytest

from llm.training.schedule import TrainConfig, lr_factor, make_plan

CONFIG = TrainConfig(
    optimizer="adamw", lr=1e-2, beta1=0.9, beta2=0.95, weight_decay=0.1, max_norm=1.0, batch_size=4, micro_batch=2,
    compile="never", epochs=None, max_steps=20, budget_s=None, schedule_epochs=None, schedule="cosine", warmup=0.1,
    decay=0.5, final_lr=0.1, ema=0.0, eval_every=5, checkpoint_every=10, keep=1, state_every_s=0.0, val_rows=None,
)  # fmt: skip


def ten_rows(epochs):
    return 10 * epochs


def test_an_epoch_has_as_many_steps_as_batches_that_cover_it():
    plan = make_plan(ten_rows, replace(CONFIG, epochs=3, max_steps=None))
    assert (plan.steps_per_epoch, plan.steps, plan.horizon) == (3, 8, 8)


def test_a_pinned_horizon_is_longer_than_the_run():
    plan = make_plan(ten_rows, replace(CONFIG, epochs=3, max_steps=None, schedule_epochs=4))
    assert (plan.steps, plan.horizon) == (8, 10)


def test_validation_and_checkpoints_default_to_once_an_epoch():
    plan = make_plan(ten_rows, replace(CONFIG, epochs=3, max_steps=None, eval_every=None, checkpoint_every=None))
    assert (plan.eval_every, plan.checkpoint_every) == (3, 3)


def test_a_longer_run_with_the_horizon_pinned_is_the_same_trajectory():
    shorter = replace(CONFIG, epochs=30, max_steps=None, schedule_epochs=40)
    assert shorter.trajectory() == replace(shorter, epochs=40).trajectory()
    free = replace(CONFIG, epochs=30, max_steps=None)
    assert free.trajectory() != replace(free, epochs=40).trajectory()


def test_how_often_the_state_is_saved_does_not_change_the_trajectory():
    assert CONFIG.trajectory() == replace(CONFIG, state_every_s=99.0).trajectory()
    assert CONFIG.trajectory() != replace(CONFIG, lr=2e-2).trajectory()


def test_warmup_is_a_share_of_the_horizon():
    assert lr_factor(1, 20, CONFIG) == 1.0  # 0.1 * 20 = 2 steps
    assert lr_factor(0, 20, CONFIG) == 0.5


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"epochs": 3}, "epochs is 3, max_steps is 20, budget_s is None: exactly one"),
        ({"max_steps": None}, "epochs is None, max_steps is None, budget_s is None"),
        ({"batch_size": 5}, "batch_size 5 is not a multiple of micro_batch 2"),
        ({"lr": 0.0}, "lr is 0.0"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"beta1": 1.0}, "beta1 is 1.0"),
        ({"warmup": 1.5}, "warmup is 1.5"),
        ({"keep": -1}, "keep is -1"),
        ({"schedule_epochs": 3}, "schedule_epochs 3 needs epochs"),
    ],
)
def test_values_out_of_range_are_refused_by_name(changed, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**(asdict(CONFIG) | changed))
