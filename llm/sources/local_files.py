"""Which files of a folder hold data, and their rows, one in memory at a time, each with its place."""

import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from llm.download import DownloadError

Row = Mapping[str, Any]

TABLES = (".parquet", ".arrow")
ROW_ENDINGS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", *TABLES)
TEXT_ENDINGS = (".txt", ".md")
ENDINGS = ROW_ENDINGS + TEXT_ENDINGS
# What data sets keep beside their rows.
METADATA = ("dataset_info*.json", "dataset_dict.json", "state.json", "readme*", "licen[cs]e*", "__macosx")
_TRAIN = re.compile(r"(?:^|[-_./])train(?:ing)?(?=[-_./])", re.IGNORECASE)
_HELD_OUT = re.compile(r"(?:^|[-_./])(?:test|testing|validation|valid|val|dev|eval)(?=[-_./])", re.IGNORECASE)
INSTEAD = {  # what people have, and what to do with it
    **dict.fromkeys((".docx", ".doc", ".odt", ".rtf", ".pdf", ".epub"), "save it as plain text (.txt) first"),
    **dict.fromkeys((".zip", ".tar", ".tgz", ".7z", ".rar", ".bz2", ".xz", ".zst"), "unpack it first"),
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "save it as .csv first"),
    **dict.fromkeys((".html", ".htm", ".xml"), "save its text as .txt, or its rows as .jsonl first"),
}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DataFile:
    """A file that holds data."""

    path: Path
    name: str  # below the location, "part/own.jsonl"

    @property
    def ending(self) -> str:
        """Its ending in lower case without .gz, ".jsonl"."""
        return Path(self.name.lower().removesuffix(".gz")).suffix


@dataclass(frozen=True)
class Place:
    """Where a row stands."""

    file: str
    number: int  # from 1
    unit: str = "line"

    def __str__(self) -> str:
        return f"{self.file}, {self.unit} {self.number:,}"


def data_files(path: Path, endings: Iterable[str] = ENDINGS) -> list[DataFile]:
    """The file itself, or a folder's data files by name; metadata, hidden files and other splits are passed over.

    Raises DownloadError when nothing can be read there, saying what is.
    """
    endings = tuple(endings)
    if path.is_file():
        _check_ending(DataFile(path, path.name), endings)
        return [DataFile(path, path.name)]
    if not path.is_dir():
        raise DownloadError(f"{path}: {_missing(path)}")
    others: list[str] = []
    found = []
    for file in _walk(path):
        if file.ending in endings:
            found.append(file)
        else:
            others.append(file.name)
    if not found:
        there = f"only {', '.join(others[:5])}{' ...' if len(others) > 5 else ''}" if others else "nothing"
        advice = f": {reason}" if others and (reason := INSTEAD.get(Path(others[0]).suffix.lower())) else ""
        raise DownloadError(f"{path}: no file ending in {', '.join(endings)} there, {there}{advice}")
    if others:
        logger.info("%s: passed over %d other file(s), such as %s", path, len(others), others[0])
    return _without_held_out(path, found)


def _missing(path: Path) -> str:
    try:
        path.stat()
    except FileNotFoundError:
        return "there is no such file or folder; correct the path"
    except OSError as error:
        return f"it cannot be opened ({error.strerror}); correct the path"
    return "it is neither a file nor a folder; correct the path"


def _check_ending(file: DataFile, endings: tuple[str, ...]) -> None:
    if file.ending not in endings:
        advice = INSTEAD.get(file.ending, "rename it if it is one of them, or convert it")
        raise DownloadError(f"{file.path}: not a file that is read here ({', '.join(endings)}): {advice}")


def _walk(folder: Path) -> Iterator[DataFile]:
    """Files below the folder by name, each once, whatever links lead in a circle."""
    seen = set()
    for root, folders, names in os.walk(folder, followlinks=True):
        here = os.stat(root)
        if (here.st_dev, here.st_ino) in seen:
            folders.clear()
            continue
        seen.add((here.st_dev, here.st_ino))
        folders[:] = sorted(name for name in folders if not _is_metadata(name))
        for name in sorted(name for name in names if not _is_metadata(name)):
            path = Path(root, name)
            if path.is_file():
                yield DataFile(path, path.relative_to(folder).as_posix())


def _is_metadata(name: str) -> bool:
    return name.startswith(".") or any(fnmatch(name.lower(), pattern) for pattern in METADATA)


def _without_held_out(folder: Path, files: list[DataFile]) -> list[DataFile]:
    """The files without those that are named test or validation, where others are named train."""
    if not any(_TRAIN.search(file.name) for file in files):
        return files
    held_out = [file for file in files if _HELD_OUT.search(file.name) and not _TRAIN.search(file.name)]
    if held_out:
        names = ", ".join(file.name for file in held_out[:5])
        logger.warning("%s: not read as training rows: %s (name such a file itself to read it)", folder, names)
    return [file for file in files if file not in held_out]
