import threading
from dataclasses import replace

import pytest
import torch

from llm.training.checkpoint import State
from llm.training.feeding import Batches
from llm.training.loop import training_steps
from llm.training.trainer import Trainer
from tests.tiny_runs import CPU, counting_rows, model, train, weights
from tests.training.test_schedule import CONFIG

CUDA = torch.device("cuda")  # a name: nothing is put there


class Watched:
    """Rows that note which thread made them into a batch."""

    def __init__(self, packed):
        self.packed, self.made_by = packed, []

    def batch(self, rows):
        self.made_by.append(threading.current_thread().name.partition("_")[0])
        return self.packed.batch(rows)


@pytest.fixture
def pins(monkeypatch):
    """The tensors that were pinned."""
    found = []

    def pin(t):
        found.append(t)
        return t

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    return found


def test_on_cuda_the_batches_are_pinned_and_made_one_step_ahead(tmp_path, pins):
    packed, config = counting_rows(), replace(CONFIG, max_steps=6)
    plain, run_plain = train(packed, tmp_path / "plain", config)
    assert pins == []
    run = Trainer(model(), packed, packed, config, 1, CPU, State(tmp_path / "ahead"))
    run.batches = Batches(Watched(run.epochs), CUDA)
    for _ in training_steps(run):
        pass
    made_by = run.batches.data.made_by
    run.batches.thread.shutdown()
    assert made_by[:2] == ["MainThread"] * 2 and set(made_by[2:]) == {"batches"}  # two micro-batches a step
    assert len(pins) == 4 * len(made_by)
    assert all(torch.equal(plain[name], value) for name, value in weights(run.model).items())
    assert run.progress.history == run_plain.history


def test_on_a_cpu_no_thread_is_started(pins):
    batches = Batches(Watched(counting_rows()), CPU)
    batches.prepare([1, 2], 1)
    assert batches.thread is None and batches.data.made_by == [] and pins == []
    assert len(batches.take([1, 2], 1)) == 2


def test_other_rows_than_those_prepared_are_made_anew(pins):
    packed = counting_rows()
    batches = Batches(packed, CUDA)
    batches.prepare([1, 2], 2)
    (got,) = batches.take([3, 4], 2)
    assert torch.equal(got.ids, packed.batch([3, 4]).ids)
    assert [len(batch.ids) for batch in batches.take([1, 2], 1)] == [1, 1]


def test_what_fails_in_the_thread_is_raised_where_the_batch_is_taken(pins):
    class Broken:
        def batch(self, rows):
            raise OSError("the disk is gone")

    batches = Batches(Broken(), CUDA)
    batches.prepare([1], 1)
    with pytest.raises(OSError, match="the disk is gone"):
        batches.take([1], 1)
