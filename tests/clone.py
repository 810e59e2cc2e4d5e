"""The project as somebody has it who cloned it: a repository of its own, run by its commands, stopped by signals.

It runs in hostile surroundings: see SURROUNDINGS.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent
COSTS = ("metrics/cost.json", "metrics/report.html")
ASCII = {  # in whose characters no text of the data can be written; in C alone, Python turns to UTF-8
    "LANG": "C",
    "LC_ALL": "C",
    "PYTHONUTF8": "0",
    "PYTHONCOERCECLOCALE": "0",
    "PYTHONIOENCODING": ":backslashreplace",  # DVC prints what is none
}
SURROUNDINGS = {
    "LANG": "C",
    "LC_ALL": "C",  # not ASCII: in a folder with other letters DVC fails then
    "MPLBACKEND": "module://not_installed_here.backend",  # as a notebook's where only the notebook has it
    "HOME": "/proc/home",  # where nobody, root neither, can make a folder
}
AUTHOR = {f"GIT_{who}_{what}": "t" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
UNSET = {
    *("PYTHONUTF8", "PYTHONIOENCODING", "PYTHONCOERCECLOCALE", "PYTHONHASHSEED", "PYTHONPATH"),
    *("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_PREFIX"),  # a hook's
    *("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "HF_HOME", "MPLCONFIGDIR", "TERM"),
}
OF_OTHERS = ("TANDEM_", "DVC_")  # folders with states, costs, outputs and caches of other runs


class Clone:
    """A copy of the working tree as a repository with one commit, on a preset."""

    def __init__(self, folder: Path, preset: str = "smoke") -> None:
        self.folder = folder
        for name in self.sources():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
        self.run(sys.executable, "-m", "stages.preset", preset)
        self.run("git", "init", "-q", "-b", "main")
        self.run("git", "add", "-A")
        self.run("git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", preset)

    @classmethod
    def existing(cls, folder: Path) -> "Clone":
        """The clone that is there already."""
        clone = cls.__new__(cls)
        clone.folder = folder
        return clone

    def sources(self) -> list[str]:
        """Files of the working tree that a clone begins with."""
        listed = self.run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT).stdout
        names = [name for name in listed.split("\0") if name and not name.startswith("metrics/") and name != "dvc.lock"]
        return [name for name in names if (ROOT / name).is_file()]

    @property
    def environment(self) -> dict[str, str]:
        """The caller's in SURROUNDINGS, with this interpreter first on PATH and no state of another run in sight.

        DVC starts stages by SHELL. bash becomes the stage; a dash would wait for it and end by Ctrl-C itself.
        """
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {
            **{
                name: value
                for name, value in os.environ.items()
                if name not in UNSET and not name.startswith(OF_OTHERS)
            },
            **SURROUNDINGS,
            **AUTHOR,
            "PATH": path,
            "SHELL": "/bin/bash",
            "PYTHONWARNINGS": "",
            "DVC_NO_ANALYTICS": "1",
            "TANDEM_FETCHED": "",  # its own folder
        }

    def run(self, *command: str, cwd: Path | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command, cwd=cwd or self.folder, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True,
            encoding="utf-8", timeout=900,
        )  # fmt: skip
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done

    def dvc(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "dvc", *arguments, check=check)

    def hashes(self, names: list[str]) -> dict[str, str]:
        return {name: hashlib.sha256((self.folder / name).read_bytes()).hexdigest() for name in names}

    def metrics(self) -> dict[str, bytes]:
        """But what the run cost, and the page that shows it: they tell of the machine."""
        return {name: content for name, content in self.contents("metrics").items() if name not in COSTS}

    def restore_params(self) -> None:
        """Put the committed params.yaml back; git overlooks an edit of the same size within a second."""
        (self.folder / "params.yaml").write_text(self.run("git", "show", "HEAD:params.yaml").stdout, encoding="utf-8")

    @contextmanager
    def renamed(self, name: str) -> Iterator[None]:
        """The folder has that name meanwhile."""
        before = self.folder
        self.folder = before.rename(before.with_name(name))
        yield
        self.folder = self.folder.rename(before)

    @contextmanager
    def comment_in(self, name: str) -> Iterator[None]:
        """A comment stands at the end of a source file meanwhile; afterwards all is as it was, dvc.lock too."""
        path, lock = self.folder / name, (self.folder / "dvc.lock").read_bytes()
        kept = path.read_text(encoding="utf-8")
        path.write_text(f"{kept}# a comment\n", encoding="utf-8")
        yield
        path.write_text(kept, encoding="utf-8")
        (self.folder / "dvc.lock").write_bytes(lock)

    def everything(self) -> dict[str, bytes]:
        """What the stages leave, but what it cost."""
        return {
            **self.metrics(),
            **{name: content for part in ("models", "data") for name, content in self.contents(part).items()},
        }

    def adapter(self) -> dict[str, bytes]:
        return self.contents("models/mistral")

    def contents(self, name: str) -> dict[str, bytes]:
        files = [path for path in sorted((self.folder / name).rglob("*")) if path.is_file()]
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in files}


def spoiled(folder: Path) -> list[str]:
    """Files of DVC's cache that no longer hold what their name says: something wrote through a link into it."""
    files = list((folder / ".dvc/cache/files/md5").glob("??/*"))
    assert files
    md5 = {path: hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() for path in files}
    return [path.name for path in files if md5[path] != path.parent.name + path.name.removesuffix(".dir")]


def stages_run(output: str) -> list[str]:
    """But for look, which always runs."""
    return [name for name in re.findall(r"Running stage '([^']+)'", output) if name != "look"]


def end_when(clone: Clone, ready: Callable[[], bool], number: int, *arguments: str) -> tuple[int, str]:
    """Exit code and output of a dvc that, with its stage, got the signal as soon as `ready`; Ctrl-C does that too."""
    with (clone.folder / "logs/dvc.log").open("w+", encoding="utf-8") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "dvc", *arguments], cwd=clone.folder, env=clone.environment, start_new_session=True,
            stdout=output, stderr=output,
        )  # fmt: skip
        while not ready():
            assert process.poll() is None, "the run ended before it could be stopped"
            time.sleep(0.005)
        os.killpg(process.pid, number)
        process.wait(300)
        output.seek(0)
        return process.returncode, output.read()


def states(clone: Clone, run: str) -> set[str]:
    return {path.name for path in (clone.folder / ".train_state").glob(f"{run}-*/state_*.json")}
