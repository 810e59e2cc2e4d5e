"""Alternating rounds: every contender in a process of its own, one at work at a time, the others waiting.

A machine's speed drifts, and a contender's memory habits spoil the next one's: so all of them stay alive, take turns
within every round, and only ratios within a round are used.
"""

import multiprocessing
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from tqdm import tqdm

from llm.machine import keep_freed_memory, this_cpu
from llm.models.kernel_choice import choose_kernels, use_kernels

PRELOAD = ["torch"]  # imported once, in the server that all contenders are forked from
MAX_WARM_UP, MAX_WARM_UP_S = 8, 60.0  # turns, seconds
STILL_FALLING = 0.8  # warm-up goes on while a turn has less than this share of the page faults of the one before
FEW_FAULTS = 2_000  # pages of 4 KB: 2 ms
QUIET = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "TRANSFORMERS_VERBOSITY": "error"}  # only our own bar is shown
RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, bytes


@dataclass(frozen=True)
class Contender:
    """One way of doing the work that is compared."""

    name: str
    run: Callable[..., None]  # run(lap, **arguments): prepares, then calls lap() before each piece of work, for ever
    arguments: dict[str, Any]
    keeps_memory: bool  # with our allocator setting, which holds for a whole process and for good
    multiplies_fast: bool = False  # with our setting of matrix products, which holds for a whole process too


@dataclass(frozen=True)
class Turn:
    """One timed piece of work."""

    seconds: float
    amount: float  # of whatever is counted: steps, tokens, bytes
    faults: int  # pages
    peak_bytes: int  # of the process so far
    note: Any  # a figure of the contender's own: a loss, a checksum

    @property
    def cost(self) -> float:
        """Seconds for one of what is counted."""
        return self.seconds / self.amount


@dataclass
class Run:
    """What the contenders reported, by their names."""

    ready: dict[str, Any] = field(default_factory=dict)  # each one's note before its first piece of work
    turns: dict[str, list[Turn]] = field(default_factory=dict)


class Finished(Exception):
    """The rounds are over."""


class Lap:
    """The clock in a contender's process."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._start()

    def _start(self) -> None:
        self._faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        self._started = time.perf_counter()

    def __call__(self, amount: float = 1.0, note: Any = None) -> None:
        """Report the work since the last call and wait for the next turn. Raises Finished after the last.

        The first call reports the preparation, whose time counts for nothing.
        """
        seconds = time.perf_counter() - self._started
        usage = resource.getrusage(resource.RUSAGE_SELF)
        self._pipe.send(Turn(seconds, amount, usage.ru_minflt - self._faults, usage.ru_maxrss * RSS_UNIT, note))
        if not self._pipe.recv():
            raise Finished
        self._start()


def _work(pipe: Connection, contender: Contender) -> None:
    """Run a contender in its process."""
    try:
        if contender.keeps_memory:
            keep_freed_memory()
        if contender.multiplies_fast:
            use_kernels(choose_kernels(this_cpu()))
        contender.run(Lap(pipe), **contender.arguments)
    except Finished:
        pass
    except Exception:  # nothing is passed over: the parent raises it again
        pipe.send(traceback.format_exc())


class Worker:
    """A contender's process, seen from outside."""

    def __init__(self, contender: Contender) -> None:
        os.environ.update(QUIET)
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOAD)
        self.contender = contender
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, contender))
        self._process.start()
        theirs.close()

    def wait(self) -> Turn:
        """Wait for its next report. Raises RuntimeError when it has failed or was killed."""
        name = self.contender.name
        try:
            report = self._pipe.recv()
        except EOFError:
            self._process.join()
            raise RuntimeError(
                f"{name} died with exit code {self._process.exitcode} (-9: out of memory): run fewer at once"
            ) from None
        if isinstance(report, str):
            raise RuntimeError(f"{name} failed:\n{report}")
        return report

    def take_turn(self) -> Turn:
        """Let it do the next piece of work; its report."""
        self._pipe.send(True)
        return self.wait()

    def end(self) -> None:
        """End the process."""
        with suppress(OSError):  # it may have gone already
            self._pipe.send(False)
        self._process.join(timeout=10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


@contextmanager
def open_workers(contenders: Sequence[Contender]) -> Iterator[list[Worker]]:
    """A waiting process for each contender."""
    workers: list[Worker] = []
    try:
        for contender in contenders:
            workers.append(Worker(contender))
        yield workers
    finally:
        for worker in workers:
            worker.end()


def _warm_up(worker: Worker) -> None:
    """Let the contender take turns until a turn faults in almost no pages, or as many as the one before.

    Where freed memory is kept the heap may grow for some turns, each time as much, before it has its size.
    """
    turn = worker.take_turn()
    seconds = turn.seconds
    for _ in range(MAX_WARM_UP - 1):
        before, turn = turn, worker.take_turn()
        seconds += turn.seconds
        settled = not worker.contender.keeps_memory and turn.faults > STILL_FALLING * before.faults
        if settled or turn.faults < FEW_FAULTS or seconds > MAX_WARM_UP_S:
            return


def alternate(
    contenders: Sequence[Contender], rounds: int, check: Callable[[dict[str, Any]], None], title: str = "bench"
) -> Run:
    """The turns of all contenders, every second round in reverse order.

    `check` is given each one's note when it is ready and raises ValueError when they would not do the same work.
    """
    run = Run()
    with open_workers(contenders) as workers, tqdm(desc=title, total=len(workers) * (rounds + 1), unit="turn") as bar:
        for worker in workers:
            run.ready[worker.contender.name] = worker.wait().note
        check(run.ready)
        for worker in workers:
            _warm_up(worker)
            bar.update()
        for number in range(rounds):
            for worker in workers if number % 2 == 0 else reversed(workers):
                run.turns.setdefault(worker.contender.name, []).append(worker.take_turn())
                bar.update()
    return run


def check_equal(ready: dict[str, Any], tolerance: float) -> None:
    """Raise ValueError when the numbers are further apart than the tolerance. None takes no part."""
    values = {name: value for name, value in ready.items() if value is not None}
    if values and max(values.values()) - min(values.values()) > tolerance:
        raise ValueError(f"the contenders do not compute the same: {values}")
