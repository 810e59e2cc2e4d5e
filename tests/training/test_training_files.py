from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from llm.training.checkpoint import State
from llm.training.progress import Progress
from llm.training.step import validation_loss
from llm.training.training_files import TrainingFiles
from tests.tiny_runs import CPU, counting_rows, model, train
from tests.training.test_schedule import CONFIG


@pytest.fixture
def packed():
    """The tiny data of all training tests."""
    return counting_rows()


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


def test_best_weights_stay_while_one_of_the_last_two_states_names_them(tmp_path):
    files, kept = TrainingFiles(State(tmp_path)), []
    for step, best in ((1, 1), (2, 2), (3, 2), (4, 2), (5, 5)):
        if step == best:
            files.save_best(step, {"w": torch.ones(1)})
        files.save_state({"w": torch.ones(1)}, Progress(step=step, best_step=best))
        kept.append([int(path.stem[-1]) for path in sorted(tmp_path.glob("best_*"))])
    assert kept == [[1], [1, 2], [2], [2], [2, 5]]
