import time

import pytest

from llm.training.clock import Clock


class Times:
    """A monotonic clock that stands still until it is moved."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def times(monkeypatch):
    """A clock that stands still until a test moves it."""
    times = Times()
    monkeypatch.setattr(time, "monotonic", times)
    return times


def test_the_schedule_ends_at_1_with_the_last_step_that_fits(times):
    clock = Clock(100.0)
    with clock.closing():
        times.now += 10.0
    shares = []
    while not clock.over:
        shares.append(round(clock.fraction, 4))
        with clock.step():
            times.now += 20.0
    # 90 s for steps; at 10 s no step is known to take any time, then three of 20 s end at 50, 70 and 90
    assert shares == [round(10 / 90, 4), round(50 / 90, 4), round(70 / 90, 4), 1.0]
    assert clock.seconds + clock.closing_s == 100.0


def test_a_later_process_goes_on_with_the_time_taken_so_far(times):
    clock = Clock(100.0)
    clock.resume(seconds=60.0, step_s=5.0, closing_s=10.0)
    times.now += 10.0
    assert (clock.seconds, clock.limit_s) == (70.0, 90.0)
    assert not clock.over
    times.now += 15.5
    assert clock.over


def test_without_a_budget_it_is_never_over(times):
    clock = Clock(None)
    times.now += 1e9
    assert not clock.over
