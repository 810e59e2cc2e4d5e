"""Faults of what surrounds a run: the disk, permissions, the clock."""

import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.chaos.project import KEPT, read_lock
from tests.chaos.running import Ended
from tests.chaos.scene import Scene, Trial

LARGE = "2g"  # a disk after room was made
CLOCK = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")  # Debian's package faketime
JUMPS = ("-400d", "-3h", "-30s", "+30s", "+3h", "+400d")
# What root may do to files that belong to somebody else, or that it has locked for itself, nobody else may.
NO_PRIVILEGES = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()
STATE_FOLDERS = (".train_state", ".evaluate_state", ".fetched", ".cost", "logs", ".dvc/cache", ".dvc/tmp")
OF_ALL = STATE_FOLDERS[3:]


def met(how: str, ended: Ended) -> Trial:
    """What happened where a run may never have needed what it was denied: then it ended as if nothing had been."""
    return Trial(how, [ended], missed=ended.code == 0)


def bytes_of(folder: Path) -> int:
    """Bytes that the files of a folder take on a disk of whole pages."""
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in folder.rglob("*") if path.is_file())


def state_folders(scene: Scene) -> list[str]:
    """Folders beside the outputs into which the stage, or the whole DAG, writes."""
    stage = scene.fault.stage
    used = {Path(KEPT[stage]).parts[0]} if stage in KEPT else set[str]()
    named = [name for name in STATE_FOLDERS if not stage or name in used or name in OF_ALL]
    return [name for name in named if (scene.folder / name).is_dir()]


def put_on_small_disk(scene: Scene, folder: Path, free: int) -> None:
    """Let a folder be a disk with so many bytes free, until all has been judged. Needs root."""
    aside = scene.folder.parent / "aside"
    shutil.move(folder, aside)
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={LARGE}", "tmpfs", folder], check=True)
    scene.stack.callback(lambda: subprocess.run(["umount", "-l", folder], check=True))
    subprocess.run(["cp", "-a", f"{aside}/.", folder], check=True)
    shutil.rmtree(aside)
    disk = os.statvfs(folder)
    used = (disk.f_blocks - disk.f_bfree) * disk.f_frsize
    subprocess.run(["mount", "-o", f"remount,size={max(used, disk.f_frsize) + free}", folder], check=True)


def fill_disk(scene: Scene) -> Trial:
    """The disk of the outputs, or of what is kept beside them, is full at some point; without root no file can grow."""
    dice = scene.fault.dice
    own = {Path(out).parts[0] for out in scene.outs()}
    name = dice.choice([*sorted(own) * 3, *state_folders(scene)])
    outs = [scene.base.folder / out for out in scene.outs() if Path(out).parts[0] == name]
    need = sum(bytes_of(out) if out.is_dir() else out.stat().st_size for out in outs)
    there = bytes_of(scene.base.folder / name)  # much of which has been written already, so seldom much more is needed
    free = int(need * dice.random()) if outs else int(there * dice.random() ** 4)
    if os.geteuid():
        limit = ["bash", "-c", f'ulimit -f {max(1, free // 1024)}; exec "$@"', "-"]
        return met(f"no file above {free} bytes", scene.start(before=limit).finish())
    folder = scene.folder / name
    folder.mkdir(exist_ok=True)
    put_on_small_disk(scene, folder, free)
    ended = scene.run()
    subprocess.run(["mount", "-o", f"remount,size={LARGE}", folder], check=True)
    return met(f"{free} bytes free in {name}", ended)


@contextmanager
def without_mode(path: Path, lost: int) -> Iterator[None]:
    """Some permissions of a file or folder are gone meanwhile."""
    before = path.stat().st_mode
    path.chmod(before & ~lost)
    try:
        yield
    finally:
        if path.exists():
            path.chmod(before)


def make_read_only(scene: Scene) -> Trial:
    """A folder that has to be written to cannot be, from the start or from the moment on."""
    dice = scene.fault.dice
    folders = {str(Path(out).parent) for out in scene.outs()} | {o for o in scene.outs() if (scene.folder / o).is_dir()}
    there = [name for name in (*sorted(folders) * 2, *state_folders(scene), ".") if (scene.folder / name).is_dir()]
    name, late = dice.choice(there), dice.random() < 0.5
    running = scene.start(before=NO_PRIVILEGES) if late else None
    if running:
        scene.reach_moment(running)
    if not (scene.folder / name).is_dir():
        return Trial(f"{name} read-only, not there yet", [running.finish()] if running else [], missed=True)
    with without_mode(scene.folder / name, 0o222):
        ended = (running or scene.start(before=NO_PRIVILEGES)).finish()
    return met(f"{name} read-only {'from the moment on' if late else 'from the start'}", ended)


def take_permissions(scene: Scene) -> Trial:
    """A file or folder that has to be read cannot be."""
    dice = scene.fault.dice
    stages = read_lock(scene.base.folder)
    deps = stages[scene.fault.stage or dice.choice(list(stages))].get("deps", [])
    paths = [dep["path"] for dep in deps if (scene.folder / dep["path"]).exists()]
    if not scene.fault.stage:
        paths = [path for path in paths if path.startswith(("llm", "stages", "data/curated"))]
    chosen = scene.folder / dice.choice([*paths, "params.yaml"])
    inside = sorted(path for path in chosen.rglob("*") if path.is_file() and path.suffix != ".pyc")
    if inside and dice.random() < 0.7:
        chosen = dice.choice(inside)
    with without_mode(chosen, 0o777):
        ended = scene.start(before=NO_PRIVILEGES).finish()
    return met(f"{chosen.relative_to(scene.folder)} unreadable", ended)


def jump_clock(scene: Scene) -> Trial:
    """The clock jumps at the moment, and back afterwards; without libfaketime the dates of files do."""
    dice = scene.fault.dice
    jump = dice.choice(JUMPS)
    if not CLOCK.exists():
        return date_files(scene, dice)
    clock = scene.folder.parent / "clock"
    clock.write_text("+0", encoding="utf-8")
    variables = {"LD_PRELOAD": str(CLOCK), "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1"}
    running = scene.start(**variables, FAKETIME_DONT_FAKE_MONOTONIC="1")
    scene.reach_moment(running)
    clock.write_text(jump, encoding="utf-8")
    late = running.process.poll() is not None
    return Trial(f"the clock jumps by {jump}", [running.finish()], missed=late)


def date_files(scene: Scene, dice: random.Random) -> Trial:
    """Files of the outputs and of what is kept have dates of the future or long ago."""
    days = dice.choice((-4000, -1, 1, 4000))
    for name in ("data", "models", "metrics", *STATE_FOLDERS[:3]):
        for path in (scene.folder / name).rglob("*"):
            with suppress(OSError):
                os.utime(path, (time.time() + 86400 * days,) * 2)
    return Trial(f"files of {days} days from now", [scene.run()])
