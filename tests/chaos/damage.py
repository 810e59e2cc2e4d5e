"""Faults of files: damaged outputs, inputs, states and objects of the cache."""

import json
import os
import random
import re
import shutil
import signal
from pathlib import Path

from tests.chaos.project import DVC, GOES_ON, KEPT, module_of, read_lock, remove
from tests.chaos.running import wait_for_none
from tests.chaos.scene import Scene, Trial

DAMAGES = ("cut short", "emptied", "with a bit turned", "with zeros at its end", "deleted")


def damage(path: Path, way: str, dice: random.Random, in_place: bool) -> None:
    """Damage a file in one of DAMAGES: in its place, with all its other names, or as a new file of its name."""
    if way == "deleted":
        path.unlink()
        return
    mode = path.stat().st_mode
    data = damaged(path.read_bytes(), way, dice)
    if not in_place:
        new = path.with_name(f"{path.name}.new")
        shutil.copyfile(path, new)
        new.replace(path)
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(mode)


def damaged(data: bytes, way: str, dice: random.Random) -> bytes:
    """The content of a file as the damage leaves it."""
    if way == "emptied" or not data:
        return b""
    place = dice.randrange(len(data))
    if way == "cut short":
        return data[:place]
    if way == "with a bit turned":
        return data[:place] + bytes([data[place] ^ 1 << dice.randrange(8)]) + data[place + 1 :]
    return data[:place] + bytes(len(data) - place)


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
        return Trial("nothing there to damage", ended, missed=True)
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
    return Trial(f"{path.relative_to(scene.folder)} {way}", [ended], hurt={stage}, anew={stage})


def is_whole_without(path: Path, manifest: Path) -> bool:
    """Whether a state, or the kept outputs of a model, need nothing of that file, such as the best weights so far."""
    return path.name not in map(os.path.basename, json.loads(manifest.read_text(encoding="utf-8")).get("files", {}))


def damage_state(scene: Scene) -> Trial:
    """A stage is killed, and what it would go on from is damaged."""
    dice = scene.fault.dice
    running = scene.start()
    scene.reach_moment(running)
    running.signal_group(signal.SIGKILL)
    ended = [running.finish()]
    wait_for_none(scene.folder)
    stage = scene.fault.stage or ""
    found = [p for place in scene.folder.glob(KEPT[stage]) for p in (place, *place.rglob("*"))]
    files = sorted(path for path in found if path.is_file() and path.name != "lock")
    if not files:
        return Trial("no state there", ended, missed=True)
    path, way = dice.choice(files), dice.choice(DAMAGES)
    n_whole = sum(is_whole_without(path, one) for one in files if one.suffix == ".json" and one.stem != path.stem)
    damage(path, way, dice, in_place=False)
    again = scene.run(*DVC, "repro", "--force", "-s", stage)  # also where it had ended before
    if advice := re.search(r"delete (\S+) to train anew", again.output):
        remove(Path(advice[1]))
    wrong = []
    if n_whole and GOES_ON[stage] not in again.output:
        wrong.append(f"{stage} began anew, {n_whole} whole states beside the damaged one")
    return Trial(f"{path.parent.name.partition('-')[0]}/{path.name} {way}", [*ended, again], wrong=wrong)
