from llm.progress import Progress


def test_the_closing_numbers_hold_no_times():
    run = Progress(step=4, best_step=2, best_loss=0.0, seconds=12.5, history=[{"step": 4, "val_loss": 0.1}])
    assert run.summary() == {"step": 4, "val_loss": 0.1, "best_step": 2, "best_val_loss": 0.0, "best_val_ppl": 1.0}
