"""A worker's own clone of the repository, in which DVC runs one experiment.

Not `dvc exp run --temp`: it changes the repository's params.yaml for a moment, and takes the first experiment of a
stash that all share (TempDirQueue.get of DVC 3.67), be it another worker's. Not `dvc queue start` with several jobs
either: some of its experiments fail without a log (treeverse/dvc#10673).
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from llm.files import WAITS
from llm.sweeps.space import Scalar, set_params

KEPT = {  # folders of the repository that outlast a run, and the variables by which a clone finds them
    "TANDEM_STATE": ".train_state",
    "TANDEM_EVALUATED": ".evaluate_state",
    "TANDEM_FETCHED": ".fetched",
    "TANDEM_COST": ".cost",
}
UNTIL_KILLED_S = 60.0  # in which a stage that is told to end saves its state
NOBODY = {"user.name": "sweep", "user.email": "sweep@localhost"}  # who commits where git knows nobody
AUTHOR = (*(part for name, value in NOBODY.items() for part in ("-c", f"{name}={value}")), "-c", "commit.gpgsign=false")
LOOK_S = 0.2


def git(folder: Path, *arguments: str) -> str:
    """What git prints. Raises ValueError with its complaint when it fails."""
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"git {arguments[0]} failed in {folder}: {' '.join(done.stderr.split())}")
    return done.stdout.strip()


def clean_head(repository: Path) -> str:
    """The commit of the working tree.

    Raises ValueError where tracked files differ from it, but for what a run leaves: clones have the commit alone.
    """
    changed = git(repository, "status", "--porcelain", "--untracked-files=no", "--", ".", ":!metrics")
    if changed:
        names = ", ".join(line.split(maxsplit=1)[1] for line in changed.splitlines())
        raise ValueError(f"{names} differs from the last commit, which is all that workers see: commit or undo that")
    return git(repository, "rev-parse", "HEAD")


def experiment_ref(commit: str, name: str) -> str:
    """Where DVC keeps an experiment that began from a commit."""
    return f"refs/exps/{commit[:2]}/{commit[2:]}/{name}"


def has_experiment(repository: Path, commit: str, name: str) -> bool:
    """Whether the repository has that experiment of the commit."""
    return bool(git(repository, "for-each-ref", experiment_ref(commit, name)))


@dataclass(frozen=True)
class Clone:
    """A clone at a commit, which shares objects and DVC's cache with the repository."""

    repository: Path
    folder: Path
    commit: str

    @property
    def _whole(self) -> Path:
        """There while the clone holds no run, and none has failed in it."""
        return self.folder / ".git" / "whole"

    def prepare(self) -> None:
        """Make it ready for a run: the data of the one before stay where that ended well, else it is made anew."""
        if self._whole.is_file():
            git(self.folder, "checkout", "--quiet", self.commit, "--", "params.yaml")
            self._whole.unlink()
        else:
            self._make()

    def _make(self) -> None:
        """Make it anew: whatever a killed run left in it, locks and half an experiment, is gone."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        git(self.repository, "clone", "--quiet", "--shared", "--no-checkout", ".", str(self.folder))
        git(self.folder, "checkout", "--quiet", "--detach", self.commit)
        if (local := self.repository / ".dvc/config.local").is_file():
            shutil.copy2(local, self.folder / ".dvc/config.local")
        for name, value in NOBODY.items():  # DVC makes no experiment for nobody
            with suppress(ValueError):
                value = git(self.repository, "config", name)
            git(self.folder, "config", name, value)
        cache = self._dvc(self.repository, "cache", "dir")
        self._dvc(self.folder, "config", "--local", "cache.dir", cache)

    def _dvc(self, folder: Path, *arguments: str) -> str:
        """What DVC prints. Raises ValueError with its complaint when it fails."""
        command = [sys.executable, "-m", "dvc", *arguments]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            raise ValueError(f"dvc {arguments[0]} failed in {folder}: {' '.join(done.stderr.split())}")
        return done.stdout.strip()

    def committed(self, path: Path) -> str:
        """What the commit has of a text file; nothing where it has no such file."""
        with suppress(ValueError):
            return git(self.repository, "show", f"{self.commit}:{path.as_posix()}")
        return ""

    def environment(self) -> dict[str, str]:
        """The caller's, with this interpreter first on PATH, and the lasting folders of the repository.

        Two trials may come to the very same training, such as a fine-tune that their parameters leave alone: the second
        waits for the first, and is answered from its state.
        """
        kept = {variable: str(self.repository / name) for variable, name in KEPT.items()}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        return {**kept, **os.environ, "PATH": path, WAITS: "1"}

    def start(
        self, name: str, target: str | None, values: Mapping[str, Scalar | None], log: Path, locks: Sequence[int]
    ) -> "subprocess.Popen[bytes]":
        """Start the experiment up to a stage, or whole, in a process group of its own that holds the locks too."""
        command = [sys.executable, "-m", "dvc", "exp", "run", "--name", name]
        command += [*set_params(values), *([target] if target else [])]
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as out:
            return subprocess.Popen(
                command, cwd=self.folder, env=self.environment(), stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                start_new_session=True, pass_fds=locks,
            )  # fmt: skip

    def save_stopped(self, name: str, why: str) -> None:
        """Keep what a stopped run has left, parameters and curve, as an experiment: DVC keeps finished ones only."""
        git(self.folder, "add", "--all")  # a curve that is not in the commit too; what DVC caches, git ignores
        git(self.folder, *AUTHOR, "commit", "--quiet", "--no-verify", "--allow-empty", "--message", why)
        git(self.folder, "update-ref", experiment_ref(self.commit, name), "HEAD")
        git(self.folder, "reset", "--quiet", "--mixed", self.commit)

    def bring(self, name: str) -> None:
        """Bring the experiment, which ended well, into the repository, in place of an older one of that name."""
        ref = experiment_ref(self.commit, name)
        git(
            self.repository, "fetch", "--quiet", "--no-write-fetch-head", "--no-tags", str(self.folder), f"+{ref}:{ref}"
        )
        self._whole.touch()


def stop(process: "subprocess.Popen[bytes]") -> None:
    """End the group of a run that goes on, as Ctrl-C does, and wait until its stage has saved; kill what is left of it.

    A stage outlives a DVC that was killed. A second signal does not take the worker away from its run.
    """
    if process.poll() == 0:
        return
    with _deaf():
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
            until = time.monotonic() + UNTIL_KILLED_S
            while time.monotonic() < until:
                process.poll()  # a group of which only an ended process is left would live on
                os.killpg(process.pid, 0)
                time.sleep(LOOK_S)
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def _deaf() -> Iterator[None]:
    """Take no notice of SIGINT and SIGTERM meanwhile."""
    before = {one: signal.signal(one, signal.SIG_IGN) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
