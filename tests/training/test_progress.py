from llm.training.progress import Progress


def test_the_closing_numbers_count_what_went_wrong_and_hold_no_times():
    last = {"step": 4, "val_loss": 0.1}
    run = Progress(best_step=2, best_loss=0.0, seconds=12.5, skipped_steps=3, rollbacks=1, history=[last])
    best = {"best_step": 2, "best_val_loss": 0.0, "best_val_ppl": 1.0}  # exp(0)
    assert run.summary() == {**last, **best, "skipped_steps": 3, "rollbacks": 1}
