"""What keeps DVC from running here: who holds its locks, whether there are any, and where its cache lies."""

import fcntl
import json
import os
from pathlib import Path

import psutil

from stages.findings import Finding

LOCK = Path(".dvc/tmp/rwlock")  # which paths each running `dvc` reads and writes
CONFIG = Path(".dvc/config")  # a file that is always there
LINKS = {"hardlink": "hard links", "reflink": "copies on write", "symlink": "symbolic links", "copy": "copies"}
ON_ONE_DISK = ("hardlink", "reflink")


def written_by(lock: Path = LOCK) -> dict[int, list[str]]:
    """Paths that each living `dvc` is about to write, by process."""
    try:
        held = json.loads(lock.read_text(encoding="utf-8"))["write"]
    except (OSError, ValueError, LookupError):
        return {}
    found: dict[int, list[str]] = {}
    for path, holder in held.items():
        if psutil.pid_exists(holder["pid"]):
            found.setdefault(holder["pid"], []).append(os.path.relpath(path))
    return found


def running_stages() -> dict[int, str]:
    """Stages that run in this folder, by process: DVC, when it is killed, leaves its stage running."""
    found = {}
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
            here = len(words) > 2 and words[1] == "-m" and words[2].startswith("stages.") and _is_here(process)
        except psutil.Error:
            continue
        if here and process.pid != os.getpid():
            found[process.pid] = words[2].removeprefix("stages.")
    return found


def _is_here(process: psutil.Process) -> bool:
    return Path(process.cwd()) == Path.cwd().resolve()


def lock_findings(tools: tuple[str, ...]) -> list[Finding]:
    """Who runs the pipeline here already; `tools` are modules of stages that are none of the DAG's."""
    found = [
        Finding("problem", f"`dvc` (pid {pid}) is at work here, writing {', '.join(paths)}", "wait for it, or end it")
        for pid, paths in written_by().items()
    ]
    if not found:  # else it is that one's
        found = [
            Finding("problem", f"stage {name} (pid {pid}) runs here without dvc", "wait for it, or end it")
            for pid, name in running_stages().items()
            if name not in tools
        ]
    return found or [Finding("ok", "no other run here")]


def file_lock_finding() -> Finding:
    """Whether runs can notice each other by file locks. Raises DvcException where there is no repository."""
    from dvc.repo import Repo

    with Repo() as repo, (Path(repo.root_dir) / CONFIG).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            told = f"this file system has no locks ({error.strerror}): two runs at once are not noticed"
            if repo.config["core"].get("hardlink_lock"):
                return Finding("warning", told, "start one at a time")
            advice = "mount it with locks; or `dvc config --local core.hardlink_lock true`, and delete .dvc/tmp/lock"
            return Finding("problem", f"{told}, and DVC does not start", advice)
    return Finding("ok", "the file system has locks")


def cache_finding() -> Finding:
    """Where DVC's cache lies and how results come from it. Raises DvcException where there is no repository."""
    from dvc.repo import Repo

    with Repo() as repo:
        cache, types = Path(repo.cache.local.path), list(repo.cache.local.cache_types)
        beside = _device(cache) == _device(Path(repo.root_dir))
    usable = [kind for kind in types if beside or kind not in ON_ONE_DISK]
    kind = usable[0] if usable else "copy"
    shown = os.path.relpath(cache) if cache.is_relative_to(Path.cwd().resolve()) else str(cache)
    text = f"cache {shown}, {'on this' if beside else 'on another'} file system, {LINKS[kind]}"
    if kind == "copy":
        advice = "`dvc config --local cache.type hardlink,reflink,symlink,copy`"
        return Finding("warning", f"{text}: every result takes its space twice", advice)
    return Finding("ok", text)


def _device(path: Path) -> int:
    """The file system of a path, of the nearest folder where it is not there yet."""
    there = next(place for place in (path, *path.parents) if place.exists())
    return there.stat().st_dev
