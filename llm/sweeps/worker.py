"""A worker of a study: it runs trials until none is left, and the runs by which the best one is judged."""

import hashlib
import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from llm.sweeps.clone import Clone, clean_head, has_experiment
from llm.sweeps.locks import HeldLock
from llm.sweeps.runner import Experiment, Outcome, measured, run_experiment
from llm.sweeps.space import CURVES, Scalar, SweepConfig
from llm.sweeps.study import Claim, SweepStudy

JUDGED_SEEDS = 3  # a side, from which on a verdict needs no spread that was measured before
FAILURES = 2  # of a worker, one behind the other: then the next ones fail likewise
WAIT_S = 2.0

logger = logging.getLogger(__name__)


class Worker:
    """One worker of a study, with a clone of its own."""

    def __init__(self, config: SweepConfig, repository: Path, folder: Path) -> None:
        self.config, self.repository, self.folder = config, repository, folder
        self.study = SweepStudy(folder, config)
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
            return self._finish(claim, name)
        if outcome == "stopped":
            self.study.prune(claim)
            logger.info("%s: stopped early", name)
        else:
            self.study.fail(claim)
        return outcome != "failed"

    def _finish(self, claim: Claim, name: str) -> bool:
        """Keep what the finished trial reached; whether there is such a figure."""
        try:
            value = measured(self.clone.folder, self.config)
        except (OSError, ValueError) as error:
            logger.error("%s counts as failed: %s", name, error)
            self.study.fail(claim)
            return False
        self.study.finish(claim, value)
        logger.info("%s: %s %.4f", name, self.config.objective, value)
        return True

    def run(self, experiment: Experiment, lock: HeldLock, shall_stop: Callable[[Mapping[int, float]], bool]) -> Outcome:
        """Run an experiment in the clone; what became of it."""
        log = self.folder / "logs" / f"{experiment.name}.log"
        locks = [self.place.file, lock.file]
        return run_experiment(self.clone, experiment, Path(CURVES[self.config.model]), log, locks, shall_stop)

    def judged(self, first: int) -> dict[str, list[Experiment]]:
        """The best configuration and the default one, whole runs with the seeds from `first` on.

        Their names hold a digest of the parameters: a study that went on, or was begun anew, may have another best.
        """
        config, found = self.config, dict[str, list[Experiment]]()
        sides: dict[str, dict[str, Scalar]] = {"best": self.study.best()[2], "default": {}}
        for side, params in sides.items():
            values = {**config.common(), **params}
            name = (
                f"{config.study}-{side}-{hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:6]}"
            )
            seeds = range(first, first + JUDGED_SEEDS)
            found[side] = [Experiment(f"{name}-{seed}", None, {**values, "seed": seed}) for seed in seeds]
        return found

    def judge(self, first: int) -> None:
        """Run what is missing of the two sides, with seeds that no trial had, and print their comparison.

        Raises ValueError when a run fails.
        """
        sides = self.judged(first)
        missing = [one for side in sides.values() for one in side]
        while missing := [one for one in missing if not has_experiment(self.repository, self.commit, one.name)]:
            if not any(self._run_judged(one) for one in missing):
                time.sleep(WAIT_S)  # other workers run them
        names = [",".join(one.name for one in side) for side in sides.values()]
        command = [sys.executable, "-m", "llm", "compare", *names, "--model", self.config.model]
        subprocess.run(command, check=True)

    def _run_judged(self, one: Experiment) -> bool:
        """Whether this worker has run it now. Raises ValueError when it fails."""
        lock = HeldLock(self.folder / "trials" / one.name)
        if has_experiment(self.repository, self.commit, one.name) or not lock.take():
            return False
        logger.info("%s: %s", one.name, dict(one.values))
        if self.run(one, lock, lambda _: False) == "failed":
            raise ValueError(f"{one.name} failed: see {self.folder}/logs/{one.name}.log, then run this again")
        lock.release()
        return True
