"""What dvc.lock says of the files that a stage reads: which of them are not what another stage made."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

LOCK, PIPELINE = Path("dvc.lock"), Path("dvc.yaml")
MOST_BYTES = 2 * 10**9  # of what is hashed, in some seconds, to say what to do


def advise(stage: str) -> str:
    """What to do where a stage failed on a file that was damaged since another stage made it; "" where none was."""
    try:
        changed = sorted(set(find_changed(stage)))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, yaml.YAMLError):  # DVC itself will say so
        return ""
    return f"; damaged since it was made: {', '.join(changed)} (run `dvc repro`)" if changed else ""


def find_changed(stage: str) -> Iterator[str]:
    """Outputs of other stages, read by this one, that are not as dvc.lock has them."""
    described = yaml.safe_load(PIPELINE.read_text(encoding="utf-8"))["stages"][stage]
    deps = [Path(dep) for dep in described.get("do", described)["deps"]]
    for entry in yaml.safe_load(LOCK.read_text(encoding="utf-8"))["stages"].values():
        for out in entry["outs"]:
            path = Path(out["path"])
            if any(path.is_relative_to(dep) or dep.is_relative_to(path) for dep in deps) and not is_recorded(path, out):
                yield out["path"]


def is_recorded(path: Path, out: Mapping[str, Any]) -> bool:
    """Whether a file or folder is as an entry of dvc.lock says; one above MOST_BYTES is held to its size alone."""
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    if not path.exists() or sum(file.stat().st_size for file in files) != out["size"]:
        return False
    if out["size"] > MOST_BYTES:
        return True
    if not path.is_dir():
        return md5(path) == out["md5"]
    listed = [{"md5": md5(file), "relpath": file.relative_to(path).as_posix()} for file in files]
    text = json.dumps(sorted(listed, key=lambda entry: entry["relpath"]), sort_keys=True)  # DVC's own form
    return f"{hashlib.md5(text.encode()).hexdigest()}.dir" == out["md5"]


def md5(path: Path) -> str:
    """Hexadecimal MD5 of a file, by which DVC knows it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
