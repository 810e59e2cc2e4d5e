"""Saved states of training: whole or absent, checked when read, locked, found again by what they come from."""

import hashlib
import json
import logging
import os
import shutil
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from filelock import Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from llm.files import (
    WAITS,
    code_hash,
    file_sha256,
    folder_sha256,
    hold_lock,
    lasting_folder,
    parse_json,
    write_json,
    write_whole,
)
from llm.machine import name_of, products_type
from llm.training.distributed import is_first, is_shard, wait_for_all
from llm.training.shards import load_shards, save_shards
from llm.training.shared_folder import check_shared

logger = logging.getLogger(__name__)

STATES_KEPT = 2
DAMAGE = (OSError, ValueError, KeyError, TypeError, SafetensorError)  # what reading a damaged state raises
SHARDS = ".shards"  # folder of a state that several processes wrote
# What safetensors calls the types of numbers, in the order in which their tensors stand in a file.
DTYPES = {
    torch.uint64: "U64", torch.int64: "I64", torch.float64: "F64", torch.complex64: "C64",
    torch.float32: "F32", torch.uint32: "U32", torch.int32: "I32", torch.bfloat16: "BF16", torch.float16: "F16",
    torch.uint16: "U16", torch.int16: "I16", torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2",
    torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


def _layout(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None) -> tuple[list[str], bytes, int]:
    """Names in the order of their bytes in a safetensors file, all that stands before those, and how many they are."""
    rank = list(DTYPES).index
    names = sorted(tensors, key=lambda name: (rank(tensors[name].dtype), name))
    header: dict[str, object] = {} if metadata is None else {"__metadata__": metadata}
    end = 0
    for name in names:
        t = tensors[name]
        start, end = end, end + t.numel() * t.element_size()
        header[name] = {"dtype": DTYPES[t.dtype], "shape": list(t.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return names, struct.pack("<Q", len(text)) + text, end


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file, equal bytes for equal tensors, those of safetensors.torch.save.

    That holds the whole file in memory beside the tensors; this holds no more than a copy of the largest one.
    """
    names, head, n_bytes = _layout(tensors, metadata)
    with write_whole(path, len(head) + n_bytes) as file:
        file.write(head)
        for name in names:
            file.write(tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)


def run_key(
    parts: Mapping[str, object], modules: Sequence[str], device: torch.device, packages: Sequence[str] = ()
) -> str:
    """Name of the one trajectory that these inputs, this code and this device give; equal keys may resume each other.

    `packages` are those beside torch whose code computes in it.
    """
    machine = {"device": device.type, "products": name_of(products_type(device)), "torch": torch.__version__}
    versions = {name: version(name) for name in packages}
    described = json.dumps(
        {**parts, **machine, "packages": versions, "code": code_hash(modules)}, sort_keys=True, default=str
    )
    return hashlib.sha256(described.encode()).hexdigest()[:16]


def state_root() -> Path:
    """Folder of all training states: `.train_state`, or what TANDEM_STATE names."""
    return lasting_folder(".train_state", "TANDEM_STATE")


def step_of(path: Path) -> int:
    """Step in the name of a state, of best weights or of a checkpoint.  step_of(Path("best_00000012.json")) == 12"""
    return int(path.stem.rpartition("_")[2])


def _delete(manifest: Path) -> None:
    """Delete a state, its manifest first: without that nothing of it is read."""
    manifest.unlink()
    manifest.with_suffix(".safetensors").unlink(missing_ok=True)
    shutil.rmtree(manifest.with_suffix(SHARDS), ignore_errors=True)


def _read_manifest(manifest: Path) -> dict[str, Any]:
    """What a manifest says; one of DAMAGE is raised when it says nothing."""
    entry = parse_json(manifest.read_text(encoding="utf-8"))
    if not isinstance(entry, dict) or not isinstance(entry.get("files", {}), dict):
        raise ValueError(f"{manifest.name} is no manifest")
    return entry


def _needed(manifest: Path) -> int | None:
    """Step of the state that a state refers to; None when its manifest is damaged."""
    try:
        return int(_read_manifest(manifest)["needs"])
    except DAMAGE:
        return None


def _read_shards(folder: Path, entry: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and values of a state that several processes wrote; ValueError when a file of theirs is damaged."""
    if folder_sha256(folder) != entry["sha256"]:
        raise ValueError("the files of its processes are not those that were written")
    return load_shards(folder), parse_json(entry["values"])


@dataclass(frozen=True)
class State:
    """A locked folder with the last states of one run."""

    folder: Path

    def save(
        self,
        step: int,
        tensors: Mapping[str, Tensor],
        values: Mapping[str, Any],
        needs: int,
        files: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Write the state of `step`; keep beside it the one before it and those of the steps that the two need.

        `files` are the hashes of what else the run ends with, by name below the folder.
        """
        path, entry = self._path(step), {"step": step, "needs": needs, "files": dict(files)}
        if any(map(is_shard, tensors.values())):
            self._save_shards(step, tensors, {**entry, "values": json.dumps(values)})
        elif is_first():
            save_tensors(path, tensors, {"values": json.dumps(values)})
            write_json(path.with_suffix(".json"), {**entry, "sha256": file_sha256(path)})
        if is_first():
            self._thin(step)
        wait_for_all()

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Tensors and values of the newest whole state, or None; a damaged one is named and passed over."""
        for manifest in self._manifests():
            try:
                self._check_files(manifest)
                return self._read(manifest)
            except DAMAGE as error:
                path = manifest.with_suffix(".safetensors")
                if _is_of_the_disk(error):  # the state may be whole
                    raise OSError(
                        f"state {path} cannot be read ({error}): mend that and run again, or delete {self.folder} to "
                        "train anew"
                    ) from error
                logger.warning("state %s is damaged (%s): going back to the one before it", path, error)
        return None

    def drop_beyond(self, last: int) -> int | None:
        """Delete the states of steps behind `last`; the newest step that had one, None where there was none."""
        dropped = [path for path in self._manifests() if step_of(path) > last]
        for manifest in dropped:
            _delete(manifest)
        return max(map(step_of, dropped), default=None)

    def forget_replaced(self) -> None:
        """Let no state name a checkpoint whose place a later one took, which is about to be deleted itself."""
        for manifest in self._manifests():
            with suppress(*DAMAGE):  # `load` says so
                entry = _read_manifest(manifest)
                named = entry.get("files", {})
                kept = {name: sha256 for name, sha256 in named.items() if not _is_replaced(self.folder / name)}
                if kept != named:
                    write_json(manifest, {**entry, "files": kept})

    def load_step(self, step: int) -> dict[str, Tensor]:
        """Tensors of the state of that step; OSError when it is damaged."""
        path = self._path(step)
        try:
            return self._read(path.with_suffix(".json"))[0]
        except DAMAGE as error:
            raise OSError(f"state {path} is damaged ({error}): delete {self.folder} to train anew") from None

    def _read(self, manifest: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and values of a state; one of DAMAGE is raised when it is not as it was written."""
        path, entry = manifest.with_suffix(".safetensors"), _read_manifest(manifest)
        if "values" in entry:
            return _read_shards(manifest.with_suffix(SHARDS), entry)
        if entry["sha256"] != file_sha256(path):
            raise ValueError("its checksum is wrong")
        with safe_open(path, framework="pt") as file:
            values = parse_json(file.metadata()["values"])
        return load_file(path), values

    def _check_files(self, manifest: Path) -> None:
        """Raise one of DAMAGE when a file that the run ends with is not as it was when the state was written."""
        for name, sha256 in _read_manifest(manifest).get("files", {}).items():
            path = self.folder / name
            if not _is_replaced(path) and file_sha256(path) != sha256:
                raise ValueError(f"the checksum of {name} is wrong")

    def _thin(self, step: int) -> None:
        """Delete all states but the last STATES_KEPT up to `step` and those that these need."""
        newest = [path for path in self._manifests() if step_of(path) <= step][:STATES_KEPT]  # none that was damaged
        needed = [self._path(step).with_suffix(".json") for step in map(_needed, newest) if step is not None]
        for old in self._manifests():
            if old not in (*newest, *needed):
                _delete(old)

    def _save_shards(self, step: int, tensors: Mapping[str, Tensor], entry: Mapping[str, Any]) -> None:
        """Write what each process holds, into a folder that appears whole or not at all."""
        folder, temporary = self.folder / f"state_{step:08d}{SHARDS}", self.folder / f".state{SHARDS}.part"
        if is_first():
            shutil.rmtree(temporary, ignore_errors=True)
        wait_for_all()
        save_shards(temporary, tensors)
        wait_for_all()
        if is_first():
            shutil.rmtree(folder, ignore_errors=True)
            temporary.rename(folder)
            write_json(folder.with_suffix(".json"), {**entry, "sha256": folder_sha256(folder)})

    def _path(self, step: int) -> Path:
        """Where the tensors of the state of that step stand."""
        return self.folder / f"state_{step:08d}.safetensors"

    def _manifests(self) -> list[Path]:
        """The files that say which states there are, the newest first."""
        return sorted(self.folder.glob("state_*.json"), reverse=True)


def _is_of_the_disk(error: BaseException) -> bool:
    """Whether an error says nothing of a file's content: it may not be read, or the disk fails."""
    return isinstance(error, OSError) and error.errno is not None and not isinstance(error, FileNotFoundError)


def _is_replaced(path: Path) -> bool:
    """Whether a later checkpoint took the place of this one."""
    return not path.exists() and any(step_of(other) > step_of(path) for other in path.parent.glob("step_*"))


@contextmanager
def open_state(root: Path, name: str, key: str) -> Iterator[State]:
    """The state folder of one run, locked by the first of the processes that share it.

    Raises OSError when another process trains the same run: two would overwrite each other; where TANDEM_WAIT is set it
    is waited for. Raises ValueError where not all processes see the folder.
    """
    folder = root / f"{name}-{key}"
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / "lock"
    if not is_first():
        check_shared(folder, lock)
        yield State(folder)
        return
    try:
        held = hold_lock(lock, wait=WAITS in os.environ)
    except Timeout as error:
        raise OSError(
            f"another process is training this very run ({folder}): wait for it or end it, then run again"
        ) from error
    with held:
        for leftover in folder.rglob(".*.tmp"):  # of a process that was killed while it wrote
            if leftover.is_file():
                leftover.unlink()
        if unlocked := check_shared(folder, lock):
            logger.warning("%s: locks do not hold on %s: two runs at once are not noticed", lock, ", ".join(unlocked))
        yield State(folder)
