from llm.training.checkpoint import open_state
from llm.training.history import write_curve
from llm.training.loop import fit
from tests.tiny_runs import CPU, counting_rows, model
from tests.training.test_schedule import CONFIG


def test_the_curve_is_a_csv_with_a_row_per_validation(tmp_path):
    packed = counting_rows()
    with open_state(tmp_path, "scratch", "k") as state:
        run = fit(model(), packed, packed, CONFIG, 1, CPU, state)
    write_curve(tmp_path / "curve.csv", run.history)
    lines = (tmp_path / "curve.csv").read_text().splitlines()
    assert lines[0] == "step,epoch,tokens,lr,train_loss,val_loss,val_ppl"
    assert [line.split(",")[0] for line in lines[1:]] == ["0", "5", "10", "15", "20"]
