"""A clone that a fault meets, and what happened there."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.faults import Fault
from tests.chaos.project import DVC, Base, read_lock
from tests.chaos.running import Ended, Running
from tests.clone import Clone


@dataclass(frozen=True)
class Scene:
    """A clone that a fault meets, and what happens there."""

    fault: Fault
    clone: Clone
    base: Base
    bases: Path  # folder of all of them
    stack: ExitStack  # of what is put right when all has been judged

    @property
    def folder(self) -> Path:
        """The clone's."""
        return self.clone.folder

    @property
    def seconds(self) -> float:
        """What the stage, or the whole DAG, takes undisturbed."""
        return self.base.seconds[self.fault.stage or "all"]

    def start(self, command: Sequence[str] = (), before: Sequence[str] = (), **variables: str) -> Running:
        """Start `dvc repro` of the stage or the whole DAG, or another command, behind the words `before`."""
        command = command or [*DVC, "repro", *(["-s", self.fault.stage] if self.fault.stage else [])]
        log = self.folder.parent / f"output{len(list(self.folder.parent.glob('output*')))}.log"
        return Running(self.folder, [*before, *command], {**self.clone.environment, **variables}, log)

    def run(self, *command: str) -> Ended:
        """The end of `dvc repro` of the stage or the whole DAG, or of another command."""
        return self.start(command).finish()

    def reach_moment(self, running: Running) -> None:
        """Wait until the fault is due."""
        if self.fault.stage:
            running.wait_for_stage(self.fault.moment * self.seconds)
        else:
            running.wait(self.fault.moment * self.seconds)

    def outs(self) -> list[str]:
        """Paths of what the stage makes; of all that is made, for the whole DAG."""
        lock = read_lock(self.base.folder)
        chosen = [self.fault.stage] if self.fault.stage else list(lock)
        return [out["path"] for stage in chosen for out in lock[stage]["outs"]]

    def owners(self, path: str) -> set[str]:
        """Stages that make the file."""
        return {
            stage
            for stage, entry in read_lock(self.base.folder).items()
            for out in entry["outs"]
            if path == out["path"] or path.startswith(f"{out['path']}/")
        }


@dataclass(frozen=True)
class Trial:
    """What happened before the cause of a fault was removed."""

    how: str
    ended: list[Ended]
    hurt: set[str] = field(default_factory=set)  # stages, beside those not ended, that have to run again
    anew: set[str] = field(default_factory=set)  # stages that kept what they had learned from damaged data
    wrong: list[str] = field(default_factory=list)  # what the kind itself found amiss
    missed: bool = False  # the fault came too late, or what it would have met was not there
