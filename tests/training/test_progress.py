import pytest

from llm.training.progress import Progress
from llm.training.step import Losses


def test_the_closing_numbers_count_what_went_wrong_and_hold_no_times():
    last = {"step": 4, "val_loss": 0.1}
    wrong = {"skipped_steps": 3, "rollbacks": 1, "empty_steps": 2, "overflowed_steps": 4}
    run = Progress(best_step=2, best_loss=0.0, seconds=12.5, **wrong, history=[last])
    best = {"best_step": 2, "best_val_loss": 0.0, "best_val_ppl": 1.0}  # exp(0)
    assert run.summary() == {**last, **best, **wrong}


def test_a_row_of_the_history_has_the_mean_loss_since_the_row_before_it():
    run = Progress(lr=0.5)
    assert run.add_validation(2.0, steps_per_epoch=4)["train_loss"] is None
    for sums in ([1.0, 2.0], [3.0, 6.0]):
        run.step += 1
        run.add_step(Losses(sums, n_tokens=4))
    row = run.add_validation(0.0, steps_per_epoch=4)
    expected = {"step": 2, "epoch": 0.5, "tokens": 8, "lr": 0.5, "train_loss": 1.5, "val_loss": 0.0, "val_ppl": 1.0}
    assert row == expected  # 12 nats of 8 tokens; exp(0)
    run.add_step(Losses([4.0], n_tokens=2))
    assert run.add_validation(0.0, steps_per_epoch=4)["train_loss"] == 2.0  # of the last step alone


@pytest.mark.parametrize(("losses", "best"), [([3.0, 2.0, 1.0], 2), ([3.0, 1.0, 2.0], 1), ([1.0, 1.0, 1.0], 0)])
def test_the_best_step_is_the_first_with_the_lowest_loss(losses, best):
    run = Progress()
    for step, loss in enumerate(losses):
        run.step = step
        run.add_validation(loss, steps_per_epoch=1)
    assert (run.best_step, run.best_loss, run.good_step) == (best, min(losses), 2)
