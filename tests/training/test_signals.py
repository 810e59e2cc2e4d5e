import os
import signal
from dataclasses import replace

import pytest

import llm.training.loop
from llm.training.checkpoint import State
from llm.training.signals import signals_wait
from tests.tiny_runs import counting_rows, train
from tests.training.test_schedule import CONFIG


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_the_state_and_stops(tmp_path, monkeypatch, number):
    step, passed = llm.training.loop.optimizer_step, []

    def step_and_signal(optimizers, lr):
        step(optimizers, lr)
        passed.append(lr)
        if len(passed) == 4:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(llm.training.loop, "optimizer_step", step_and_signal)
    with pytest.raises(KeyboardInterrupt, match="stopped at step 4: run the same command again to go on from here"):
        train(counting_rows(), tmp_path, replace(CONFIG, state_every_s=999.0))
    _, values = State(tmp_path).load()
    assert values["step"] == 4


def test_behind_the_block_a_signal_does_again_what_it_did_before():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with signals_wait() as received:
        os.kill(os.getpid(), signal.SIGTERM)
        assert received == [signal.SIGTERM]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
