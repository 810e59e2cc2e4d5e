"""What was fetched once is kept: `.fetched/` of the repository, outside the outputs that DVC deletes before a run.

A folder of it holds what one request gave, whole or not at all. Its files were hashed once, when they came; later only
their size and time are looked at. Whoever wants something fetched anew deletes the folder.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from filelock import Timeout

from llm.fetching.download import HttpConfig, fetch, find_local, location_name
from llm.files import file_sha256, folder_sha256, hold_lock, lasting_folder, write_json

RECORD = "fetched.json"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Kept:
    """A folder of what was fetched."""

    folder: Path
    sha256: Mapping[str, str]  # of its files, by name
    facts: Mapping[str, Any]  # what else `make` returned, a licence for instance

    def link_into(self, folder: Path) -> None:
        """Fill a new folder with the files, as further names of the same bytes where the disk allows it."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in self.sha256:
            link_or_copy(self.folder / name, folder / name)


def link_or_copy(source: Path, target: Path) -> None:
    """Make `target` a hard link to the source, or a copy of it where there can be none."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def size_and_time(path: Path) -> dict[str, int]:
    """Size and time of the last change of a file: equal ones say, without reading it, that it was not written to."""
    found = path.stat()
    return {"bytes": found.st_size, "changed_ns": found.st_mtime_ns}


def keep(request: Mapping[str, object], make: Callable[[Path], Mapping[str, Any]]) -> Kept:
    """What `make` left in the folder it was given, made once for all equal requests.

    A `make` that fails finds the folder as it left it when it is called again: a download goes on.
    """
    root = lasting_folder(".fetched", "TANDEM_FETCHED")
    root.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()[:16]
    folder, unfinished = root / name, root / f"{name}.part"
    with _locked(root / f"{name}.lock"):
        if found := _read(folder):
            logger.info("nothing to fetch: it is in %s (delete that to fetch it anew)", folder)
            return found
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.mkdir(exist_ok=True)
        facts = make(unfinished)
        hashes = folder_sha256(unfinished)
        _record(unfinished, hashes, facts, request)
        unfinished.rename(folder)
        return Kept(folder, hashes, facts)


def fetch_once(location: str, sha256: str | None, config: HttpConfig) -> Path:
    """A local file with the location's bytes: the named file itself when it is local, else downloaded once.

    Raises DownloadError as `fetch` does.
    """
    if local := find_local(location, sha256):
        return local
    address = urlsplit(location)
    name = Path(address.path).name[-100:] or "file"
    name = f"_{name}" if name == RECORD else name
    request = {"url": location_name(location), "sha256": sha256}
    if address.query:  # it may say which file is meant, or hold a secret: its hash tells one from another
        request |= {"query_sha256": hashlib.sha256(address.query.encode()).hexdigest()}

    def make(folder: Path) -> Mapping[str, Any]:
        fetch(location, folder / name, sha256, config)
        return {}

    return keep(request, make).folder / name


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock meanwhile; another process that fetches the same is waited for."""
    try:
        held = hold_lock(path)
    except Timeout:
        logger.info("another process fetches the same: waiting for it (%s)", path)
        held = hold_lock(path, wait=True)
    with held:
        yield


def _record(folder: Path, hashes: Mapping[str, str], facts: Mapping[str, Any], request: Mapping[str, object]) -> None:
    files = {name: {**size_and_time(folder / name), "sha256": sha256} for name, sha256 in hashes.items()}
    write_json(folder / RECORD, {"files": files, "facts": facts, "request": request})


def _read(folder: Path) -> Kept | None:
    """What is kept in the folder; None when nothing is, or when a file is no longer what was fetched."""
    if not (folder / RECORD).is_file():
        return None
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        files, facts = record["files"], record["facts"]
        for name, entry in files.items():
            if not _is_as_fetched(folder / name, entry):
                raise ValueError(f"{name} is no longer what was fetched")
    except (KeyError, TypeError, ValueError) as error:
        logger.warning("%s is damaged (%s): it is fetched again", folder, error)
        return None
    return Kept(folder, {name: entry["sha256"] for name, entry in files.items()}, facts)


def _is_as_fetched(path: Path, entry: Mapping[str, Any]) -> bool:
    """Whether a file has the size and time of its entry, or else at least its bytes."""
    if not path.is_file():
        return False
    return {**size_and_time(path), "sha256": entry["sha256"]} == entry or file_sha256(path) == entry["sha256"]
