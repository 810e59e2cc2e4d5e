"""The time of a run, over all its resumes."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from llm.training.distributed import of_first


class Clock:
    """How long a run has taken, and how much of its budget is left for steps."""

    def __init__(self, budget_s: float | None) -> None:
        self.budget_s = math.inf if budget_s is None else budget_s
        self.started = time.monotonic()  # as if the run had never been interrupted
        self.step_s = 0.0  # of the last step
        self.closing_s = 0.0  # the longest that a validation and its files have taken: what the end will take

    def resume(self, seconds: float, step_s: float, closing_s: float) -> None:
        """Count the seconds that earlier processes of the run have already taken."""
        self.started -= seconds
        self.step_s, self.closing_s = step_s, closing_s

    @property
    def seconds(self) -> float:
        """Time so far."""
        return time.monotonic() - self.started

    @property
    def limit_s(self) -> float:
        """Seconds until the run has to begin closing."""
        return self.budget_s - self.closing_s

    @property
    def over(self) -> bool:
        """Whether no further step fits into the budget; several processes go by the first one's clock."""
        return bool(of_first(self.seconds + self.step_s > self.limit_s))

    @property
    def fraction(self) -> float:
        """Fraction of the time for steps that is over when the next step ends; 1 when none fits behind it."""
        ends = self.seconds + self.step_s
        return of_first(1.0 if ends + self.step_s > self.limit_s else ends / self.limit_s)

    @contextmanager
    def step(self) -> Iterator[None]:
        """A block that is one step."""
        started = self.seconds
        yield
        self.step_s = self.seconds - started

    @contextmanager
    def closing(self) -> Iterator[None]:
        """A block that is a validation with its files."""
        started = self.seconds
        yield
        self.closing_s = max(self.closing_s, self.seconds - started)
