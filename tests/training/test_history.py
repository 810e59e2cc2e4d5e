import pytest

from llm.training.checkpoint import State
from llm.training.loop import fit, training_steps
from llm.training.trainer import Trainer
from tests.tiny_runs import CPU, counting_rows, model, take_steps
from tests.training.test_schedule import CONFIG


@pytest.fixture
def packed():
    """The tiny data of all training tests."""
    return counting_rows()


@pytest.fixture
def curve(tmp_path):
    """Where the runs write their curve."""
    return tmp_path / "metrics/curve.csv"


def begin(packed, folder, curve, steps):
    """A run that is left after so many steps, as a killed one is."""
    take_steps(training_steps(Trainer(model(), packed, packed, CONFIG, 1, CPU, State(folder), curve)), steps)


def steps_in(curve):
    return [line.split(",")[0] for line in curve.read_text().splitlines()[1:]]


def test_the_curve_is_a_csv_with_a_row_per_validation(packed, tmp_path, curve):
    fit(model(), packed, packed, CONFIG, 1, CPU, State(tmp_path / "state"), curve)
    assert curve.read_text().splitlines()[0] == "step,epoch,tokens,lr,train_loss,val_loss,val_ppl"
    assert steps_in(curve) == ["0", "5", "10", "15", "20"]


def test_the_curve_can_be_followed_while_the_run_goes_on(packed, tmp_path, curve):
    for steps, rows in ((0, ["0"]), (4, ["0"]), (5, ["0", "5"]), (11, ["0", "5", "10"])):
        begin(packed, tmp_path / f"state{steps}", curve, steps)
        assert steps_in(curve) == rows


def test_a_resumed_run_writes_the_curve_that_its_state_holds(packed, tmp_path, curve):
    fit(model(), packed, packed, CONFIG, 1, CPU, State(tmp_path / "straight"), tmp_path / "straight.csv")
    begin(packed, tmp_path / "state", curve, 5)
    for left in ("step,val_loss\n0,9\n5,9\n10,9\n", None):  # rows from behind the state; deleted by DVC
        curve.unlink() if left is None else curve.write_text(left)
        begin(packed, tmp_path / "state", curve, 0)
        assert steps_in(curve) == ["0", "5"]
    fit(model(), packed, packed, CONFIG, 1, CPU, State(tmp_path / "state"), curve)
    assert curve.read_bytes() == (tmp_path / "straight.csv").read_bytes()


def test_a_run_that_nobody_follows_writes_no_curve(packed, tmp_path):
    fit(model(), packed, packed, CONFIG, 1, CPU, State(tmp_path / "state"))
    assert list(tmp_path.rglob("*.csv")) == []
