"""Clones of the project to be hurt: finished ones, their copies, what they hold, what of it is made due again."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.chaos.faults import TRAININGS
from tests.clone import COSTS, Clone

OUTPUTS = ("data", "models", "metrics")
KEPT = {  # what a stage goes on from, or finds again
    "train_scratch": ".train_state/scratch-*",
    "finetune_mistral": ".train_state/mistral-*",
    "evaluate": ".evaluate_state/*.json",
    "download_base": ".fetched/*",
}
GOES_ON = {  # what a stage says that found something to go on from
    "train_scratch": "going on from step",
    "finetune_mistral": "going on from step",
    "evaluate": "asked the same before",
}
LOADING_S = 2.0  # of a stage, before it counts its own time
DVC = (sys.executable, "-m", "dvc")
EXPERIMENTS = ("train.lr=1e-4", "train.lr=3e-4")


def digests(folder: Path, parts: Sequence[str] = OUTPUTS) -> dict[str, str]:
    """SHA-256 of every file that the stages leave, but what they cost."""
    paths = [path for part in parts for path in sorted((folder / part).rglob("*")) if path.is_file()]
    found = {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    return {name: digest for name, digest in found.items() if name not in COSTS}


def read_lock(folder: Path) -> dict[str, Any]:
    """The stages of dvc.lock by name: those that have ended well."""
    path = folder / "dvc.lock"
    return yaml.safe_load(path.read_text(encoding="utf-8"))["stages"] if path.is_file() else {}


def module_of(stage: str) -> list[str]:
    """Arguments of Python that run a stage without DVC."""
    name, _, source = stage.partition("@")
    module = {"tokenize": "tokenize_corpus"}.get(name, name)
    return ["-m", f"stages.{module}", *filter(None, [source])]


def copy_tree(source: Path, target: Path) -> None:
    """Copy a folder with its hard links and times."""
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", "--reflink=auto", source, target], check=True)


def read_json(path: Path) -> Any:
    """The content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Base:
    """A finished run, and how long it took."""

    folder: Path  # .../project, and expected.json and seconds.json beside it

    @property
    def expected(self) -> dict[str, str]:
        """What a clean run leaves."""
        return read_json(self.folder.with_name("expected.json"))

    @property
    def seconds(self) -> dict[str, float]:
        """What each stage takes undisturbed, and `all` the whole DAG."""
        return read_json(self.folder.with_name("seconds.json"))

    def copy(self, folder: Path) -> Clone:
        """A clone like it that may be hurt."""
        copy_tree(self.folder, folder)
        return Clone.existing(folder)


def seal(folder: Path, seconds: dict[str, float]) -> Base:
    """The clone in the folder as a base: all that is known of it stands beside it."""
    folder.with_name("expected.json").write_text(json.dumps(digests(folder)), encoding="utf-8")
    folder.with_name("seconds.json").write_text(json.dumps(seconds), encoding="utf-8")
    return Base(folder)


def save_every_step(clone: Clone) -> None:
    """Let trainings save a state after every step: there is always one to go on from."""
    path = clone.folder / "params.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(re.sub(r"state_every_s: \S+", "state_every_s: 0.0", text), encoding="utf-8")
    clone.run("git", "commit", "-qam", "a state every step")


def make_base(folder: Path) -> Base:
    """A clone on the preset `smoke` after its first `dvc repro`, made once; `fresh` beside it is one before it."""
    project = folder / "project"
    if (folder / "seconds.json").is_file():
        return Base(project)
    if not (folder / "fresh").is_dir():  # else it was stopped while it ran
        shutil.rmtree(folder, ignore_errors=True)
        project.mkdir(parents=True)
        save_every_step(Clone(project))
        copy_tree(project, folder / "being made")
        (folder / "being made").rename(folder / "fresh")
    Clone.existing(project).dvc("repro")
    return seal(project, stage_seconds(project))


def stage_seconds(folder: Path) -> dict[str, float]:
    """What each stage of a finished clone took, by its log, and `all` together."""
    seconds = {}
    for stage in read_lock(folder):
        log = (folder / f"logs/{stage.partition('@')[0]}.log").read_text(encoding="utf-8")
        seconds[stage] = LOADING_S + max(map(float, re.findall(r"done in ([\d.]+) s", log)))
    return seconds | {"all": sum(seconds.values())}


def make_pair(folder: Path, done: Base) -> Base:
    """The same with two processes a training, whose sums are rounded in another order; made once."""
    project = folder / "project"
    if (folder / "seconds.json").is_file():
        return Base(project)
    shutil.rmtree(folder, ignore_errors=True)
    clone = done.copy(project)
    for stage in TRAININGS:  # one that has ended would not begin anew for another number of processes
        for state in project.glob(KEPT[stage]):
            remove(state)
    path = project / "params.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("\n  processes: 1", "\n  processes: 2", 1), encoding="utf-8")
    clone.dvc("repro")
    return seal(project, done.seconds)


def experiment_digests(clone: Clone, name: str) -> dict[str, str]:
    """What DVC knows of every output of an experiment, but what it cost."""
    commit = clone.run("git", "for-each-ref", "--format=%(objectname)", f"refs/exps/*/*/{name}").stdout.strip()
    stages = yaml.safe_load(clone.run("git", "show", f"{commit}:dvc.lock").stdout)["stages"]
    return {out["path"]: out["md5"] for s in stages.values() for out in s["outs"] if out["path"] not in COSTS}


def make_experiments(path: Path, done: Base) -> dict[str, dict[str, str]]:
    """What each of EXPERIMENTS gives undisturbed, made once."""
    if not path.is_file():
        remove(path.with_suffix(".clone"))  # of one that was stopped
        clone = done.copy(path.with_suffix(".clone"))
        found = {}
        for i, change in enumerate(EXPERIMENTS):
            clone.dvc("exp", "run", "--temp", "-n", f"clean-{i}", "-S", change)
            found[change] = experiment_digests(clone, f"clean-{i}")
        path.write_text(json.dumps(found), encoding="utf-8")
        shutil.rmtree(clone.folder)
    return read_json(path)


def forget(clone: Clone, stage: str) -> None:
    """Make a stage of a finished clone due again, as if it had never run: its outputs, what it kept, DVC's notes."""
    lock = clone.folder / "dvc.lock"
    content = yaml.safe_load(lock.read_text(encoding="utf-8"))
    for out in content["stages"].pop(stage)["outs"]:
        remove(clone.folder / out["path"])
    lock.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    remove(clone.folder / ".dvc/cache/runs")
    for path in clone.folder.glob(KEPT.get(stage, "no such")):
        remove(path)


def remove(path: Path) -> None:
    """Delete a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
