"""A study on disk: which trials there are, who runs which, and what came out; Optuna proposes the parameters.

STUDY/journal.log    Optuna's journal: every trial, its parameters, its curve, its end
STUDY/study.lock     held while a worker takes a trial
STUDY/trials/007     held by the worker that runs trial 7, and by its run
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm.sweeps.locks import HeldLock, JournalLock
from llm.sweeps.space import Scalar, SweepConfig

if TYPE_CHECKING:
    import optuna

NEEDED = "5.0.0"  # as in requirements-extra.lock
MAY_DIFFER = ("trials",)  # between the space files of one study: it may be gone on with


@dataclass(frozen=True)
class Claim:
    """A trial that this worker runs, and its lock."""

    trial: "optuna.Trial"
    lock: HeldLock


def check_installed() -> None:
    """Raise ValueError saying what to install where Optuna is missing."""
    try:
        import optuna
    except ImportError:
        raise ValueError(f"a sweep needs Optuna: python -m pip install optuna=={NEEDED}") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)


class SweepStudy:
    """The study of a space file in its folder, as one worker sees it."""

    def __init__(self, folder: Path, config: SweepConfig) -> None:
        self.folder, self.config = folder, config
        folder.mkdir(parents=True, exist_ok=True)
        self.lock = HeldLock(folder / "study.lock")
        self.study = self._open()

    def _open(self) -> "optuna.Study":
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        journal = self.folder / "journal.log"
        journal.touch()
        lock: Any = JournalLock(journal)  # Optuna asks for acquire and release only
        backend = JournalFileBackend(str(journal), lock)
        with self.lock:
            return optuna.create_study(
                storage=JournalStorage(backend),
                study_name=self.config.study,
                direction="minimize" if self.config.lower_is_better else "maximize",
                pruner=self._pruner(),
                load_if_exists=True,
            )

    def _pruner(self) -> "optuna.pruners.BasePruner":
        from optuna.pruners import MedianPruner, NopPruner

        return MedianPruner(self.config.startup, n_warmup_steps=1) if self.config.pruner == "median" else NopPruner()

    def _sampler(self, number: int) -> "optuna.samplers.BaseSampler":
        """The sampler of one trial: workers that began with one seed would all propose the same.

        Seeds that follow one another begin with nearly the same draws (numpy's RandomState), so each is a hash.
        """
        from optuna.samplers import RandomSampler, TPESampler

        seed = int.from_bytes(hashlib.sha256(f"{self.config.seed} {number}".encode()).digest()[:4])
        if self.config.sampler == "random":
            return RandomSampler(seed)
        return TPESampler(n_startup_trials=self.config.startup, seed=seed, constant_liar=True)

    def begin(self, commit: str) -> str:
        """The commit that all its trials start from: this one, where the study is new.

        Raises ValueError when the study was begun with another space file.
        """
        with self.lock:
            known, now = self.study.user_attrs, _comparable(self.config)
            if "commit" not in known:
                self.study.set_user_attr("space", now)
                self.study.set_user_attr("commit", commit)
                return commit
        differing = sorted(name for name in now if known["space"].get(name) != now[name])
        if differing:
            told = f"{', '.join(differing)} differs from that with which the study {self.config.study} was begun"
            raise ValueError(f"{told}: put it back, name another study, or delete {self.folder}")
        return str(known["commit"])

    def claim(self) -> Claim | None:
        """A trial to run: one that a dead worker left, else a new one; None where all are taken or finished."""
        from optuna.trial import Trial, TrialState

        with self.lock:
            trials = self.study.get_trials(deepcopy=False)
            for left in trials:
                if left.state == TrialState.RUNNING and (lock := self._lock(left.number)).take():
                    self.study.sampler = self._sampler(left.number)
                    return Claim(self._suggest(Trial(self.study, left._trial_id)), lock)
            if len(trials) >= self.config.trials:
                return None
            lock = self._lock(len(trials))
            if not lock.take():
                return None
            self.study.sampler = self._sampler(len(trials))
            return Claim(self._suggest(self.study.ask()), lock)

    def _lock(self, number: int) -> HeldLock:
        return HeldLock(self.folder / "trials" / f"{number:03d}")

    def _suggest(self, trial: "optuna.Trial") -> "optuna.Trial":
        """The trial with a value of every parameter; those that it has already stay."""
        space = self.config.space
        for name, (low, high) in space.log_uniform.items():
            trial.suggest_float(name, low, high, log=True)
        for name, (low, high) in space.uniform.items():
            trial.suggest_float(name, low, high)
        for name, (first, last) in space.integers.items():
            trial.suggest_int(name, first, last)
        for name, values in space.choices.items():
            trial.suggest_categorical(name, values)
        return trial

    def report(self, trial: "optuna.Trial", curve: Mapping[int, float]) -> bool:
        """Whether the trial shall be stopped; the curve's new points are kept."""
        known = self.study.get_trials(deepcopy=False)[trial.number].intermediate_values
        for step, value in sorted(curve.items()):
            if step not in known:
                trial.report(value, step)
        return len(curve) > self.config.spared and trial.should_prune()

    def finish(self, claim: Claim, value: float) -> None:
        """Keep the trial's value; one that is no number makes it a failed one."""
        self.study.tell(claim.trial, value)
        claim.lock.release()

    def prune(self, claim: Claim) -> None:
        """Keep that the trial was stopped."""
        from optuna.trial import TrialState

        self.study.tell(claim.trial, state=TrialState.PRUNED)
        claim.lock.release()

    def fail(self, claim: Claim) -> None:
        """Keep that the trial failed."""
        from optuna.trial import TrialState

        self.study.tell(claim.trial, state=TrialState.FAIL)
        claim.lock.release()

    def counts(self) -> dict[str, int]:
        """How many trials are in each state: complete, pruned, fail, running."""
        states = [trial.state.name.lower() for trial in self.study.get_trials(deepcopy=False)]
        return {name: states.count(name) for name in dict.fromkeys(states)}

    @property
    def finished(self) -> bool:
        """Whether no trial is left to run."""
        counts = self.counts()
        return sum(counts.values()) >= self.config.trials and not counts.get("running")

    def best(self) -> tuple[int, float, dict[str, Scalar]]:
        """Number, value and parameters of the best trial; ValueError where none was completed."""
        with suppress(ValueError):
            one = self.study.best_trial
            return one.number, float(one.value or 0.0), dict(one.params)
        raise ValueError(f"no trial of {self.config.study} was completed: see its logs in {self.folder}")


def _comparable(config: SweepConfig) -> dict[str, Any]:
    """What may not change within a study, as JSON gives it back."""
    return {name: one for name, one in json.loads(json.dumps(asdict(config))).items() if name not in MAY_DIFFER}
