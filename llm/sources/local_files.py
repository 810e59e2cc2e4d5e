"""Which files of a folder hold rows or texts: metadata, hidden files and other splits are passed over."""

import logging
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from llm.fetching.download import DownloadError
from llm.files import walk_files

Row = Mapping[str, Any]
PlacedRow = tuple[str, Row]  # "own.jsonl, line 12" and the row

TABLES = (".parquet", ".arrow")
ENDINGS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", *TABLES)
TEXT_ENDINGS = (".txt", ".md")
# Written beside a data set by `datasets`, `huggingface_hub` and the tools around them, or of `Dataset.map`.
METADATA = (
    *("dataset_info*.json", "dataset_dict.json", "state.json", "datapackage.json", "config.json", "metadata.json"),
    *("croissant.json", "package.json", "package-lock.json", "cache-*.arrow", "tmp*.arrow"),
    *("readme*", "licen[cs]e*", "__macosx"),
)
TRAIN = {"train", "training"}
HELD_OUT = {"test", "testing", "validation", "valid", "val", "dev", "eval", "evaluation"}
INSTEAD = {  # what people have, and what to do with it
    **dict.fromkeys((".docx", ".doc", ".odt", ".rtf", ".pdf", ".epub"), "save it as plain text (.txt) first"),
    **dict.fromkeys((".zip", ".tar", ".tgz", ".7z", ".rar", ".bz2", ".xz", ".zst"), "unpack it first"),
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "save it as .csv first"),
    **dict.fromkeys((".html", ".htm", ".xml"), "save its text as .txt, or its rows as .jsonl first"),
}

logger = logging.getLogger(__name__)


def ending(file: Path) -> str:
    """The file's ending in lower case, without .gz.

    >>> ending(Path("own[1].JSONL.gz"))
    '.jsonl'
    """
    return Path(file.name.lower().removesuffix(".gz")).suffix


def is_document(file: Path) -> bool:
    """Whether a file is read as one text."""
    return ending(file) in TEXT_ENDINGS


def find_files(location: Path, endings: Sequence[str] = ENDINGS) -> list[Path]:
    """The file itself, or a folder's files of these endings by name, hidden files and metadata passed over.

    Raises DownloadError when there is none, saying what there is.
    """
    if location.is_file():
        _check_ending(location, endings)
        return [location]
    if not location.is_dir():
        raise DownloadError(f"{location}: {_missing(location)}")
    files = list(walk_files(location, _is_metadata))
    found = [file for file in files if ending(file) in endings]
    others = [file for file in files if file not in set(found)]
    if not found:
        there = f"only {', '.join(file.name for file in others[:5])}" if others else "nothing else either"
        advice = f": {INSTEAD[ending(others[0])]}" if others and ending(others[0]) in INSTEAD else ""
        raise DownloadError(f"{location} holds no file ending in {', '.join(endings)}, {there}{advice}")
    if others:
        logger.info("%s: passed over %d other file(s), such as %s", location, len(others), others[0].name)
    return found


def training_files(location: Path, endings: Sequence[str] = ENDINGS) -> list[Path]:
    """As `find_files`, but of a folder's files without those that are named as another split; they are logged.

    Beside `train.jsonl`, or a folder `train`, only what is named train is read. Raises DownloadError when all files are
    test or validation files.
    """
    files = find_files(location, endings)
    if location.is_file():
        return files
    splits = [_split(file.relative_to(location)) for file in files]
    wanted = "train" if "train" in splits else None
    chosen = [file for file, split in zip(files, splits, strict=True) if split == wanted]
    others = [file.relative_to(location).as_posix() for file in files if file not in set(chosen)]
    shown = f"{', '.join(others[:3])}{' ...' if len(others) > 3 else ''}"
    if not chosen:
        raise DownloadError(f"{location} holds no training rows, only {shown}: give the file itself to train on it")
    if others:
        logger.warning("%s: %d file(s) not read, being no training split: %s", location, len(others), shown)
    return chosen


def _missing(path: Path) -> str:
    try:
        path.stat()
    except FileNotFoundError:
        return "there is no such file or folder; correct the path"
    except OSError as error:
        return f"it cannot be opened ({error.strerror}); correct the path"
    return "it is neither a file nor a folder; correct the path"


def _check_ending(file: Path, endings: Sequence[str]) -> None:
    if ending(file) not in endings:
        advice = INSTEAD.get(ending(file), "rename it if it is one of them, else convert it")
        raise DownloadError(f"{file.name} has none of the endings that are read ({', '.join(endings)}): {advice}")


def _is_metadata(name: str) -> bool:
    return name.startswith(".") or any(fnmatch(name.lower(), pattern) for pattern in METADATA)


def _split(inside: Path) -> str | None:
    """The split that a path names by a word of its own: train, test (validation too), or none.

    >>> _split(Path("data/train-00000-of-00001.parquet")), _split(Path("dev/a.jsonl")), _split(Path("contest.jsonl"))
    ('train', 'test', None)
    """
    words = set(re.split(r"[^a-z]+", inside.with_suffix("").as_posix().lower()))
    if words & TRAIN:
        return "train"
    return "test" if words & HELD_OUT else None
