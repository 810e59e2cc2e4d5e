"""Which source each training dialogue is of, and how often an epoch reads it."""

import json
from collections.abc import Collection, Iterable, Mapping
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llm.files import write_json
from llm.ranges import check_range

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

MAX_TIMES = 1000.0
SOURCES = "sources.json"


def check_mixture(mixture: Mapping[str, float], sources: Collection[str]) -> None:
    """Raise ValueError for a number of times that is none, an unknown source, or when nothing is left."""
    for name, times in mixture.items():
        check_range(f"mixture.{name}", times, 0.0, MAX_TIMES)
    if unknown := sorted(set(mixture) - set(sources)):
        raise ValueError(f"mixture.{unknown[0]}: no such source; those of download are {', '.join(sources)}")
    if all(mixture.get(name, 1.0) == 0 for name in sources):
        raise ValueError("mixture leaves no source to learn from: set one above 0")


def write_sources(folder: Path, sources: Iterable[str]) -> None:
    """Write which source each training dialogue is of, in runs: [["dialogue", 2777], ["eli5", 484]]."""
    write_json(folder / SOURCES, [[name, sum(1 for _ in run)] for name, run in groupby(sources)])


def read_times(folder: Path, mixture: Mapping[str, float]) -> Floats:
    """How often an epoch reads each training dialogue (D,): as the mixture says of its source, else once."""
    runs = json.loads((folder / SOURCES).read_text(encoding="utf-8"))
    return np.repeat([float(mixture.get(name, 1.0)) for name, _ in runs], [n for _, n in runs])


def appearances(times: Floats, seed: int, epoch: int) -> Ints:
    """Numbers of the dialogues that an epoch reads, ascending, each as often as it does.

    A dialogue that is read 2.5 times an epoch is read 2 and 3 times in turn, half of its source at first 2 and half 3
    times: after any number of epochs it is less than once away from `times` for each.
    """
    start = np.random.default_rng((seed, len(times))).random(len(times))
    counts = np.floor(times * (epoch + 1) + start) - np.floor(times * epoch + start)
    return np.repeat(np.arange(len(times)), counts.astype(np.int64))
