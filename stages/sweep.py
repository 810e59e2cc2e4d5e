"""`python -m stages.sweep SPACE`: search for better parameters, each trial a DVC experiment; start it as often as wanted.

Every start is one worker more. A study goes on where its workers were stopped or killed. docs/sweeps.md tells the rest.
"""

import argparse
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from llm.app.dotted import flatten
from llm.files import lasting_folder
from llm.sweeps.clone import Clone, clean_head, git, has_experiment
from llm.sweeps.locks import HeldLock
from llm.sweeps.runner import Experiment, measured, run_experiment
from llm.sweeps.space import CURVES, Scalar, SweepConfig, check_scalars
from llm.sweeps.study import Claim, SweepStudy, check_installed
from stages.check_params import Params
from stages.logs import run_stage
from stages.params import PARAMS, load, nearest, read_params, rewrite

JUDGED_SEEDS = 3  # a side, from which on a verdict needs no spread that was measured before
FAILURES = 2  # of a worker, one behind the other: then the next ones fail likewise
WAIT_S = 2.0

logger = logging.getLogger(__name__)


def read_space(path: Path) -> SweepConfig:
    """The space file. Raises ValueError for what is wrong with it, naming what is allowed."""
    check_scalars(read_params(path))
    config = load("", SweepConfig, path)
    known = flatten(read_params())
    names = [*config.fixed, *next(config.space.corners())]
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"{path}: {unknown[0]} is not a parameter, {nearest(unknown[0], known)}")
    for corner in config.space.corners():
        check_values({**config.common(), **corner}, path)
    return config


def check_values(values: Mapping[str, Scalar | None], path: Path) -> None:
    """Raise ValueError where params.yaml with these values would be refused."""

    def put(params: dict[str, object]) -> None:
        for name, value in values.items():
            *sections, key = name.split(".")
            section: dict[str, object] = params
            for one in sections:
                section = section[one]  # type: ignore[assignment]
            section[key] = value

    with tempfile.TemporaryDirectory() as folder:
        tried = Path(folder) / PARAMS
        tried.write_text(rewrite(PARAMS.read_text(encoding="utf-8"), put), encoding="utf-8")
        try:
            load("", Params, tried)
        except ValueError as error:
            raise ValueError(f"{path}: {str(error).partition('; ' + str(tried))[0]}") from None


class Worker:
    """One worker of a study, with a clone of its own."""

    def __init__(self, config: SweepConfig, repository: Path) -> None:
        self.config, self.repository = config, repository
        self.folder = lasting_folder(".sweeps", "TANDEM_SWEEPS").resolve() / config.study
        self.study = SweepStudy(self.folder, config)
        self.commit = self.study.begin(clean_head(repository))
        self.place, number = self._take_place()
        self.clone = Clone(repository, self.folder / f"worker-{number}", self.commit)
        logger.info("worker %d of %s, from commit %s", number, config.study, self.commit[:7])

    def _take_place(self) -> tuple[HeldLock, int]:
        """The first place that nobody holds: a run that outlived its worker holds its own still."""
        for number in range(1, 10**6):
            if (lock := HeldLock(self.folder / f"worker-{number}.lock")).take():
                return lock, number
        raise AssertionError("a million workers")

    def work(self) -> None:
        """Run trials until none is left, those of dead workers too. Raises ValueError when trial after trial fails."""
        failures = 0
        while not self.study.finished:
            if (claim := self.study.claim()) is None:
                time.sleep(WAIT_S)  # others run the last ones; they may die
                continue
            failures = 0 if self.run_trial(claim) else failures + 1
            if failures == FAILURES:
                raise ValueError(f"{failures} trials failed, one behind the other: see the logs in {self.folder}/logs")
        number, value, params = self.study.best()
        logger.info("%s is done: %s", self.config.study, self.study.counts())
        logger.info("best: %s, %s %.4f, %s", self.config.experiment(number), self.config.objective, value, params)

    def run_trial(self, claim: Claim) -> bool:
        """Run the trial and keep what came out; whether it did not fail."""
        config, trial = self.config, claim.trial
        name = config.experiment(trial.number)
        logger.info("%s: %s", name, trial.params)
        experiment = Experiment(name, config.target, {**config.common(), **trial.params})
        outcome = self.run(experiment, claim.lock, lambda curve: self.study.report(trial, curve))
        if outcome == "finished":
            value = measured(self.clone.folder, config)
            self.study.finish(claim, value)
            logger.info("%s: %s %.4f", name, config.objective, value)
        elif outcome == "stopped":
            self.study.prune(claim)
            logger.info("%s: stopped early", name)
        else:
            self.study.fail(claim)
        return outcome != "failed"

    def run(self, experiment: Experiment, lock: HeldLock, shall_stop) -> str:  # type: ignore[no-untyped-def]
        """Run an experiment in the clone; what became of it."""
        log = self.folder / "logs" / f"{experiment.name}.log"
        locks = [self.place.file, lock.file]
        return run_experiment(self.clone, experiment, Path(CURVES[self.config.model]), log, locks, shall_stop)

    def judged(self) -> dict[str, list[Experiment]]:
        """The best configuration and the default one, whole runs with seeds that no trial had."""
        config, first = self.config, load("seed", int) + 1
        sides: dict[str, dict[str, Scalar]] = {"best": self.study.best()[2], "default": {}}
        return {
            side: [
                Experiment(f"{config.study}-{side}-{seed}", None, {**config.common(), **params, "seed": seed})
                for seed in range(first, first + JUDGED_SEEDS)
            ]
            for side, params in sides.items()
        }

    def judge(self) -> None:
        """Run what is missing of the two sides, and print their comparison. Raises ValueError when a run fails."""
        sides = self.judged()
        missing = [one for side in sides.values() for one in side]
        while missing := [one for one in missing if not has_experiment(self.repository, self.commit, one.name)]:
            for one in missing:
                lock = HeldLock(self.folder / "trials" / one.name)
                if lock.take():
                    logger.info("%s: %s", one.name, dict(one.values))
                    if self.run(one, lock, lambda _: False) == "failed":
                        raise ValueError(
                            f"{one.name} failed: see {self.folder}/logs/{one.name}.log, then run this again"
                        )
                    lock.release()
                    break
            else:
                time.sleep(WAIT_S)  # other workers run them
        names = [",".join(one.name for one in side) for side in sides.values()]
        command = [sys.executable, "-m", "llm", "compare", *names, "--model", self.config.model]
        subprocess.run(command, check=True)


def start_workers(arguments: Sequence[str], n: int) -> None:
    """Start n workers, which share the cores, and wait for them. Raises ValueError when one of them failed."""
    threads = str(max(1, (os.cpu_count() or 1) // n))
    environment = {"OMP_NUM_THREADS": threads, **os.environ}
    command = [sys.executable, "-m", "stages.sweep", *arguments]
    workers = [subprocess.Popen(command, env=environment) for _ in range(n)]
    try:
        ended = [worker.wait() for worker in workers]
    finally:
        for worker in workers:
            if worker.poll() is None:
                worker.terminate()
        for worker in workers:
            worker.wait()
    if any(ended):
        raise ValueError(f"workers ended with {', '.join(map(str, ended))}: see above, then run this again to go on")


def main() -> None:
    """Be a worker of the study that the command line names, or start several; judge its best configuration."""
    example = "example: python -m stages.sweep docs/example/sweep.yaml --workers 2"
    parser = argparse.ArgumentParser(prog="python -m stages.sweep", description=__doc__, epilog=example)
    parser.add_argument("space", type=Path, metavar="SPACE", help="the space file, such as docs/example/sweep.yaml")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="start N workers on this machine (1)")
    parser.add_argument(
        "--judge", action="store_true", help="then compare the best trial's parameters with the present"
    )
    arguments = parser.parse_args()
    check_installed()
    config = read_space(arguments.space)
    repository = Path(git(Path(), "rev-parse", "--show-toplevel"))
    if arguments.workers > 1:
        clean_head(repository)
        start_workers([str(arguments.space)], arguments.workers)
    worker = Worker(config, repository)
    worker.work()
    if arguments.judge:
        worker.judge()


if __name__ == "__main__":
    run_stage(f"sweep-{os.getpid()}", main)  # several at once, each with a log and a lock of its own
