"""The kinds of faults: each lets a run in a clone meet one, and puts right what was wrong with the surroundings."""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.chaos.damage import DAMAGES, damage
from tests.chaos.project import (
    DVC,
    EXPERIMENTS,
    KEPT,
    Scene,
    experiment_digests,
    make_experiments,
    module_of,
    read_lock,
    remove,
)
from tests.chaos.running import Ended, send, stages_in, wait_for_none

SIGNALS = {"SIGKILL": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT}
VICTIMS = ("dvc", "stage", "both")
LARGE = "2g"  # a disk after room was made
CLOCK = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")  # Debian's package faketime
JUMPS = ("-400d", "-3h", "-30s", "+30s", "+3h", "+400d")
# What root may do to files that belong to somebody else, or that it has locked for itself, nobody else may.
NO_PRIVILEGES = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()
STATE_FOLDERS = (".train_state", ".evaluate_state", ".fetched", ".cost", "logs", ".dvc/cache", ".dvc/tmp")


@dataclass(frozen=True)
class Trial:
    """What happened before the cause of a fault was removed."""

    how: str
    ended: list[Ended]
    hurt: set[str] = field(default_factory=set)  # stages, beside those not ended, that have to run again
    wrong: list[str] = field(default_factory=list)  # what the kind itself found amiss
    hurt_states: bool = False  # what a stage goes on from was damaged


def meet_signal(scene: Scene) -> Trial:
    """A signal ends DVC, its stage or both; a stage left behind is met by another run."""
    dice = scene.fault.dice
    name, victim = dice.choice(list(SIGNALS)), dice.choice(VICTIMS)
    running = scene.start()
    scene.reach_moment(running)
    if victim == "both":
        running.signal_group(SIGNALS[name])
        send(stages_in(scene.folder), SIGNALS[name])  # torchrun's have groups of their own
    elif victim == "stage":
        send(stages_in(scene.folder), SIGNALS[name])
    else:
        running.process.send_signal(SIGNALS[name])
    ended = [running.finish()]
    if stages_in(scene.folder):
        ended.append(scene.run())
    return Trial(f"{name} of {victim}", ended)


def lose_one_process(scene: Scene) -> Trial:
    """A signal ends one of two processes that train together, or torchrun."""
    dice = scene.fault.dice
    name = dice.choice(list(SIGNALS))
    running = scene.start()
    running.wait_for_stage(0)
    scene.reach_moment(running)
    processes = stages_in(scene.folder)
    if not processes:
        return Trial(f"{name}, too late", [running.finish()])
    victim = dice.randrange(len(processes))
    send([processes[victim]], SIGNALS[name])
    return Trial(f"{name} of process {victim} of {len(processes)}", [running.finish()])


def run_two_at_once(scene: Scene) -> Trial:
    """The same command twice, the second one at the moment."""
    first = scene.start()
    scene.reach_moment(first)
    second = scene.start()
    return Trial("two at once", [second.finish(), first.finish()])


def bytes_of(folder: Path) -> int:
    """Bytes that the files of a folder take on a disk of whole pages."""
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in folder.rglob("*") if path.is_file())


def put_on_small_disk(scene: Scene, folder: Path, free: int) -> None:
    """Let a folder be a disk with so many bytes free, until all has been judged. Needs root."""
    aside = scene.folder.parent / "aside"
    shutil.move(folder, aside)
    folder.mkdir()
    used = bytes_of(aside) + 4096 * (1 + sum(1 for _ in aside.rglob("*")))
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={used + free}", "tmpfs", folder], check=True)
    scene.stack.callback(lambda: subprocess.run(["umount", "-l", folder], check=True))
    subprocess.run(["cp", "-a", f"{aside}/.", folder], check=True)
    shutil.rmtree(aside)


def fill_disk(scene: Scene) -> Trial:
    """The disk of the outputs, or of what is kept beside them, is full at some point; without root no file can grow."""
    dice = scene.fault.dice
    outs = [scene.base.folder / out for out in scene.outs()]
    need = sum(bytes_of(out) if out.is_dir() else out.stat().st_size for out in outs)
    own = {Path(out).parts[0] for out in scene.outs()}
    name = dice.choice([*sorted(own) * 3, *(n for n in STATE_FOLDERS if (scene.folder / n).is_dir())])
    free = int(need * dice.uniform(0, 1.1)) if name in own else int(bytes_of(scene.base.folder / name) * dice.random())
    if os.geteuid():
        limit = ["bash", "-c", f'ulimit -f {max(1, free // 1024)}; exec "$@"', "-"]
        return Trial(f"no file above {free} bytes", [scene.start(before=limit).finish()])
    folder = scene.folder / name
    folder.mkdir(exist_ok=True)
    put_on_small_disk(scene, folder, free)
    ended = scene.run()
    subprocess.run(["mount", "-o", f"remount,size={LARGE}", folder], check=True)
    return Trial(f"{free} bytes free in {name}", [ended])


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
    there = [name for name in (*sorted(folders) * 2, *STATE_FOLDERS, ".") if (scene.folder / name).is_dir()]
    name, late = dice.choice(there), dice.random() < 0.5
    running = scene.start(before=NO_PRIVILEGES) if late else None
    if running:
        scene.reach_moment(running)
    if not (scene.folder / name).is_dir():
        return Trial(f"{name} read-only, not there yet", [running.finish()] if running else [])
    with without_mode(scene.folder / name, 0o222):
        ended = (running or scene.start(before=NO_PRIVILEGES)).finish()
    return Trial(f"{name} read-only {'from the moment on' if late else 'from the start'}", [ended])


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
    return Trial(f"{chosen.relative_to(scene.folder)} unreadable", [ended])


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
    return Trial(f"the clock jumps by {jump}", [running.finish()])


def date_files(scene: Scene, dice: random.Random) -> Trial:
    """Files of the outputs and of what is kept have dates of the future or long ago."""
    days = dice.choice((-4000, -1, 1, 4000))
    for name in ("data", "models", "metrics", *STATE_FOLDERS[:3]):
        for path in (scene.folder / name).rglob("*"):
            with suppress(OSError):
                os.utime(path, (time.time() + 86400 * days,) * 2)
    return Trial(f"files of {days} days from now", [scene.run()])


def damage_file(scene: Scene) -> Trial:
    """A file that a stage has made is damaged at rest, in its place (so in the cache too) or as a new file."""
    dice = scene.fault.dice
    ended = []
    if not scene.fault.stage:  # the run is killed first, and has made some files
        running = scene.start()
        scene.reach_moment(running)
        running.signal_group(signal.SIGKILL)
        ended = [running.finish()]
        wait_for_none(scene.folder)
    outs = [scene.folder / out for out in scene.outs()]
    files = [path for out in outs for path in ([out] if out.is_file() else sorted(out.rglob("*"))) if path.is_file()]
    files = [path for path in files if read_lock(scene.folder) and path.name != "cost.json"]
    if not files:
        return Trial("nothing there to damage", ended)
    path, in_place, way = dice.choice(files), dice.random() < 0.5, dice.choice(DAMAGES)
    damage(path, way, dice, in_place)
    name = path.relative_to(scene.folder).as_posix()
    ended.append(scene.run(*DVC, "repro"))
    return Trial(f"{name} {way}{' in place' if in_place else ''}", ended, scene.owners(name))


def damage_cache(scene: Scene) -> Trial:
    """An object of DVC's cache is damaged, and the output is fetched from there."""
    dice = scene.fault.dice
    objects = sorted(path for path in (scene.folder / ".dvc/cache/files").rglob("*") if path.is_file())
    outs = [scene.folder / out for out in scene.outs()]
    inodes = {p.stat().st_ino for out in outs for p in ([out] if out.is_file() else out.rglob("*")) if p.is_file()}
    of_stage = [path for path in objects if path.stat().st_ino in inodes] or objects
    path, way = dice.choice(of_stage), dice.choice(DAMAGES)
    damage(path, way, dice, in_place=True)
    for out in outs:
        remove(out)
    return Trial(f"object of the cache {way}", [scene.run(*DVC, "repro")], {scene.fault.stage or ""})


def damage_input(scene: Scene) -> Trial:
    """A file that a stage reads is damaged, and the stage is run without DVC, which would have noticed."""
    dice = scene.fault.dice
    stage = scene.fault.stage or ""
    deps = [dep["path"] for dep in read_lock(scene.base.folder)[stage].get("deps", [])]
    made = [scene.folder / path for path in deps if path.startswith(("data", "models", "metrics"))]
    files = [p for dep in made for p in ([dep] if dep.is_file() else sorted(dep.rglob("*"))) if p.is_file()]
    path, way = dice.choice([*files, scene.folder / "params.yaml"]), dice.choice(DAMAGES)
    kept = path.read_bytes()
    damage(path, way, dice, in_place=False)
    ended = scene.run(DVC[0], *module_of(stage))
    path.parent.mkdir(parents=True, exist_ok=True)
    remove(path)
    path.write_bytes(kept)
    return Trial(f"{path.relative_to(scene.folder)} {way}", [ended], {stage})


def damage_state(scene: Scene) -> Trial:
    """A stage is killed, and what it would go on from is damaged."""
    dice = scene.fault.dice
    running = scene.start()
    scene.reach_moment(running)
    running.signal_group(signal.SIGKILL)
    ended = [running.finish()]
    wait_for_none(scene.folder)
    found = [p for place in scene.folder.glob(KEPT[scene.fault.stage or ""]) for p in (place, *place.rglob("*"))]
    files = sorted(path for path in found if path.is_file() and path.name != "lock")
    if not files:
        return Trial("killed before there was a state", ended)
    path, way = dice.choice(files), dice.choice(DAMAGES)
    damage(path, way, dice, in_place=False)
    return Trial(f"{path.parent.name.partition('-')[0]}/{path.name} {way}", [*ended, scene.run()], hurt_states=True)


def run_experiments(scene: Scene) -> Trial:
    """Two experiments run in copies at once, and a worker of one of them is killed; that one is then run again."""
    expected = make_experiments(scene.bases / "experiments.json", scene.base)
    dice, ended, wrong = scene.fault.dice, [], list[str]()
    runs = [scene.start(experiment(i)) for i in range(2)]
    runs[0].wait(scene.fault.moment * 30)
    loser = dice.randrange(2)
    victim, name = dice.choice(("stage", "all")), dice.choice(list(SIGNALS))
    hit = [p for p in [psutil.Process(runs[loser].process.pid)] if runs[loser].process.poll() is None]
    below = [child for process in hit for child in process.children(recursive=True)]
    send(below[-1:] if victim == "stage" else [*hit, *below], SIGNALS[name])
    ended = [running.finish() for running in runs]
    wait_for_none(scene.folder)
    if ended[loser].code:
        again = scene.run(*experiment(loser, "again"))
        wrong += [f"the experiment does not run again: {again.output[-300:]}"] if again.code else []
    if ended[1 - loser].code:
        wrong.append("the other experiment failed too")
    for i, change in enumerate(EXPERIMENTS):
        revision = f"try-{i}-again" if i == loser and ended[loser].code else f"try-{i}"
        if not wrong and experiment_digests(scene.clone, revision) != expected[change]:
            wrong.append(f"experiment {change} differs")
    return Trial(f"{name} of {victim} of an experiment", ended, wrong=wrong)


def experiment(number: int, suffix: str = "") -> list[str]:
    """The command of one of EXPERIMENTS."""
    name = f"try-{number}{'-' if suffix else ''}{suffix}"
    return [*DVC, "exp", "run", "--temp", "-n", name, "-S", EXPERIMENTS[number]]


MEET: dict[str, Callable[[Scene], Trial]] = {
    "signal": meet_signal,
    "one of two processes": lose_one_process,
    "two at once": run_two_at_once,
    "disk full": fill_disk,
    "read-only": make_read_only,
    "permissions": take_permissions,
    "clock": jump_clock,
    "damaged file": damage_file,
    "damaged cache": damage_cache,
    "damaged input": damage_input,
    "damaged state": damage_state,
    "experiments": run_experiments,
}
FINISHED = ("damaged file", "damaged cache", "experiments")  # kinds that a finished clone meets
