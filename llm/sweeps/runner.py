"""One experiment of a sweep, run in a worker's clone and followed by its validation curve."""

import csv
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from llm.runs.run_files import FIGURES
from llm.sweeps.clone import Clone, stop
from llm.sweeps.space import CURVES, VAL_LOSS, Scalar, SweepConfig

POLL_S = 0.5
SUMMARY = Path("metrics/summary.json")  # what `dvc exp show` shows of a run
TRIES = 2  # a run that is killed for its memory, or that met another, goes on from its saved state

Outcome = Literal["finished", "stopped", "failed"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Experiment:
    """What is run: a name, the stage up to which, the parameters."""

    name: str
    target: str | None  # None: the whole pipeline
    values: Mapping[str, Scalar | None]


def read_curve(path: Path, committed: str = "") -> dict[int, float]:
    """Validation loss by step, as far as the run has come; empty before its first validation.

    DVC puts the `committed` curve, another run's, in its place for moments before the stage begins.
    """
    text = ""
    with suppress(FileNotFoundError):
        text = path.read_text(encoding="utf-8")
    if text.strip() == committed.strip():
        return {}
    rows = csv.DictReader(text.splitlines())
    return {int(row["step"]): float(row["val_loss"]) for row in rows if row["val_loss"]}


def run_experiment(
    clone: Clone,
    experiment: Experiment,
    curve: Path,
    log: Path,
    locks: Sequence[int],
    shall_stop: Callable[[Mapping[int, float]], bool],
) -> Outcome:
    """Run it and bring it into the repository; `shall_stop` is asked with the curve so far."""
    for _ in range(TRIES):
        clone.prepare()
        committed = clone.committed(curve)
        (clone.folder / curve).unlink(missing_ok=True)
        if experiment.target:  # it is not evaluated, so `dvc exp show` would show the commit's figures beside its name
            (clone.folder / SUMMARY).unlink(missing_ok=True)
        process = clone.start(experiment.name, experiment.target, experiment.values, log, locks)
        try:
            stopped = _follow(process, clone.folder / curve, committed, shall_stop)
        finally:
            stop(process)
        if stopped:
            clone.save_stopped(experiment.name, f"{experiment.name}: stopped early by the sweep")
        if stopped or process.returncode == 0:
            clone.bring(experiment.name)
            return "stopped" if stopped else "finished"
        logger.warning("%s ended with %d, its log is %s", experiment.name, process.returncode, log)
    return "failed"


def _follow(process: Any, curve: Path, committed: str, shall_stop: Callable[[Mapping[int, float]], bool]) -> bool:
    """Whether the run is to be stopped before its end; the curve is read when it has grown."""
    seen: dict[int, float] = {}
    while process.poll() is None:
        time.sleep(POLL_S)
        found = read_curve(curve, committed)
        if len(found) > len(seen) and process.poll() is None:
            seen = found
            if shall_stop(found):
                return True
    return False


def measured(folder: Path, config: SweepConfig) -> float:
    """What the finished run in that folder reached: its lowest validation loss, or the figure.

    Raises ValueError for a figure that the run has not.
    """
    if config.figure == VAL_LOSS:
        curve = read_curve(folder / CURVES[config.model])
        if not curve:
            raise ValueError(f"{CURVES[config.model]} holds no validation loss: was {config.model} trained?")
        return min(curve.values())
    value: Any = json.loads((folder / FIGURES / f"{config.model}.json").read_text(encoding="utf-8"))
    for part in config.figure.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if not isinstance(value, int | float):
        raise ValueError(f"{config.objective} is no figure of the run: see {FIGURES}/{config.model}.json")
    return float(value)
