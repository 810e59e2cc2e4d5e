"""A training step of the laptop preset beside other programs: busy ones, and a second training."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from bench.ours import laptop_shape, start_training, train_config
from bench.rounds import Contender, Lap, Worker, alternate, check_equal
from bench.shapes import SEED, Shape, draw_ids, one_dialogue_a_row
from bench.table import Pair, Section, summarise
from llm.models.registry import build_model
from llm.tokens.packing import pack_corpus

STEPS = 10  # a turn
BUSY = "import os\nparent = os.getppid()\nwhile os.getppid() == parent:\n    sum(range(10_000))"
ALONE, TWICE = "alone", "two trainings at once"


@contextmanager
def open_training(shape: Shape, ids: Tensor) -> Iterator[Iterator[None]]:
    """The steps of a training on one batch (B, T), before its first."""
    model = build_model(shape.model, shape.vocab_size, torch.Generator().manual_seed(SEED))
    packed = pack_corpus(one_dialogue_a_row(ids), shape.model.context_length, SEED)
    with TemporaryDirectory() as folder:
        config = train_config(shape.batch_size, optimizer="muon")
        yield start_training(model, packed, config, Path(folder))[1]


def take_steps(training: Iterator[None], n: int) -> None:
    """Take n steps."""
    for _ in islice(training, n):
        pass


def train_beside(lap: Lap, shape: Shape, ids: Tensor, steps: int, n_busy: int) -> None:
    """Take steps while so many programs keep a processor busy each; between the turns they are stopped."""
    with ExitStack() as stack:
        busy = [stack.enter_context(busy_program()) for _ in range(n_busy)]
        training = stack.enter_context(open_training(shape, ids))
        lap()
        while True:
            for program in busy:
                program.send_signal(signal.SIGCONT)
            take_steps(training, steps)
            for program in busy:
                program.send_signal(signal.SIGSTOP)
            lap(steps)


@contextmanager
def busy_program() -> Iterator["subprocess.Popen[bytes]"]:
    """A program that computes without end, stopped for now."""
    program = subprocess.Popen([sys.executable, "-c", BUSY])
    program.send_signal(signal.SIGSTOP)
    try:
        yield program
    finally:
        program.kill()
        program.wait()


def train_twice(lap: Lap, shape: Shape, ids: Tensor, steps: int) -> None:
    """Take steps in two processes at once, until both have taken them; counted are the steps of both."""
    arguments = {"shape": shape, "ids": ids, "steps": steps, "n_busy": 0}
    with ExitStack() as stack:
        other = Worker(contender("the other training", train_beside, arguments))
        stack.callback(other.end)
        other.wait()
        training = stack.enter_context(open_training(shape, ids))
        thread = stack.enter_context(ThreadPoolExecutor(1))  # it only waits
        lap()
        while True:
            turn = thread.submit(other.take_turn)
            take_steps(training, steps)
            turn.result()
            lap(2 * steps)


def compare(shape: Shape, steps: int, rounds: int) -> Section:
    """Seconds a step alone, beside one and two busy programs, and of two trainings at once."""
    batch = {"shape": shape, "ids": draw_ids(shape, shape.batch_size, shape.model.context_length), "steps": steps}
    beside = {f"beside {n} busy program{'s' if n > 1 else ''}": n for n in (1, 2)}
    entered = [contender(name, train_beside, {**batch, "n_busy": n}) for name, n in {ALONE: 0, **beside}.items()] + [
        contender(TWICE, train_twice, batch)
    ]
    ratios: dict[str, Pair] = {f"{name} / {ALONE}": (name, ALONE) for name in beside}
    ratios["two trainings at once / one after the other"] = (TWICE, ALONE)
    run = alternate(entered, rounds, lambda ready: check_equal(ready, 0.0), "beside others")
    return summarise(run, "s/step", ratios, {"steps a turn": steps})


def contender(name: str, run: Callable[..., None], arguments: dict[str, Any]) -> Contender:
    """A contender with our settings."""
    return Contender(name, run, arguments, keeps_memory=True, multiplies_fast=True)


def measure(rounds: int, full: bool) -> Iterator[tuple[str, Section]]:
    """The laptop's model."""
    yield "step beside others", compare(laptop_shape(), STEPS, rounds)
