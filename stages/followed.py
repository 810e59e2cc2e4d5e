"""Local files that parameters name, followed by their content: one hash of a file or a folder, whatever its size.

What a file hashed to is remembered with its size, times and inode, as git's index does; a file of which these are still
the same is not read again.
"""

import hashlib
import json
import logging
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from llm.fetching.download import DownloadError, local_path
from llm.files import file_sha256, hold_lock, lasting_folder, walk_files, write_bytes

INDEX = "followed.json"
RACY_NS = 2 * 10**9  # the coarsest clock of a file system (FAT): a file written to twice within it may look unchanged
LARGE_BYTES = 10**9  # takes a second or more to hash

logger = logging.getLogger(__name__)


def stamp(path: Path) -> list[int]:
    """What changes with every write to a file: size, times of the last change of content and of anything, inode."""
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


class HashIndex:
    """SHA-256 of files, and the stamps that they had then."""

    def __init__(self) -> None:
        self.path = lasting_folder(".fetched", "TANDEM_FETCHED") / INDEX
        self._known: dict[str, list[object]] = {}
        with suppress(OSError, ValueError):  # not there, or damaged: everything is hashed again
            self._known = json.loads(self.path.read_text(encoding="utf-8"))
        self._seen: dict[str, list[object]] = {}

    def sha256(self, path: Path) -> str:
        """Hash of a file: the remembered one while its stamp is the same, else computed."""
        name, before = os.path.abspath(path), stamp(path)
        *known, sha256 = self._known.get(name, [None])
        if known != before:
            if before[0] >= LARGE_BYTES:
                logger.info("%s is new or has changed: hashing %.1f GB", path.name, before[0] / 1e9)
            started = time.time_ns()
            sha256 = file_sha256(path)
            if stamp(path) != before or max(before[1:3]) > started - RACY_NS:
                return sha256  # not remembered: a write may come whose time is the same
        self._seen[name] = [*before, sha256]
        return str(sha256)

    def save(self) -> None:
        """Remember the files hashed since the index was read, and no others."""
        if self._seen != self._known:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with hold_lock(self.path.with_suffix(".lock"), wait=True):
                write_bytes(self.path, json.dumps(self._seen).encode())


def content_hash(locations: Sequence[str | None], index: HashIndex) -> str:
    """A line for each location: the hash of the file or folder that it names on this machine, else a dash."""
    return "".join(f"{_hash(location, index) if location else '-'}\n" for location in locations or [None])


def _hash(location: str, index: HashIndex) -> str:
    try:
        path = local_path(location)
    except DownloadError:  # who reads it says what is wrong
        path = None
    if path is not None and path.is_dir():
        lines = [
            f"{index.sha256(file)} {file.relative_to(path).as_posix()}" for file in sorted(walk_files(path, _is_hidden))
        ]
        return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()
    return index.sha256(path) if path is not None and path.is_file() else "-"


def _is_hidden(name: str) -> bool:
    return name.startswith(".")
