"""Rows of a Hugging Face data set, or of local parquet and JSON lines files of the same form."""

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from llm.download import DownloadError, local_path

LOCAL_ENDINGS = (".parquet", ".jsonl", ".json")

Row = Mapping[str, Any]

logger = logging.getLogger(__name__)


def local_files(location: str) -> list[Path]:
    """Files a location names: itself, a folder's parquet and JSON lines files in order, or none for a hub id."""
    if location.count("/") == 1 and not location.startswith(("/", ".", "~")) and not location.endswith(LOCAL_ENDINGS):
        return []  # owner/name
    path = local_path(location)
    if path is None:
        raise DownloadError(f"{location}: give a data set id (owner/name) or a local path, not a URL")
    files = sorted(file for ending in LOCAL_ENDINGS for file in path.glob(f"**/*{ending}")) if path.is_dir() else [path]
    if not files or not files[0].is_file():
        raise DownloadError(f"{location}: no parquet or JSON lines file there; correct the path")
    return files


def local_rows(files: Iterable[Path], columns: tuple[str, ...]) -> Iterator[Row]:
    """Rows of local files in order, one in memory at a time."""
    from datasets import load_dataset

    for file in files:
        form = "parquet" if file.suffix == ".parquet" else "json"
        rows = load_dataset(form, data_files=str(file), split="train", streaming=True)
        yield from checked_rows(rows, columns, file.name)


def hub_rows(
    location: str, columns: tuple[str, ...], revision: str, config: str | None = None, folder: str | None = None
) -> Iterator[Row]:
    """Rows of the split `train` in order; downloaded, checked and cached by `datasets`.

    Raises DownloadError in one line when the hub, the data set or the revision is out of reach.
    """
    from datasets import load_dataset
    from huggingface_hub.errors import HfHubHTTPError

    logger.info("reading %s at revision %s from the Hugging Face hub", location, revision)
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # else a warning for each of its tries, twice
    try:
        rows = load_dataset(location, config, data_dir=folder, revision=revision, split="train")
    except (OSError, ValueError, HfHubHTTPError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise DownloadError(
            f"cannot read {location} at revision {revision} from the Hugging Face hub: {reason}; check network, proxy "
            f"and revision, or fetch its files elsewhere and give their local path as the location"
        ) from error
    return checked_rows(rows, columns, location)


def checked_rows(rows: Iterable[Row], columns: tuple[str, ...], name: str) -> Iterator[Row]:
    """The rows, or ValueError when the first one lacks a column."""
    rows = iter(rows)
    first = next(rows, None)
    if first is None:
        raise ValueError(f"{name} has no rows")
    missing = [column for column in columns if column not in first]
    if missing:
        raise ValueError(f"{name} has no column {missing[0]}, only {', '.join(sorted(first))}: another data set?")
    return chain([first], rows)


class RowHash:
    """SHA-256 over rows as they pass, so that a hub data set can be told from another one."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def watch(self, rows: Iterable[Row], columns: tuple[str, ...]) -> Iterator[Row]:
        """The rows, unchanged."""
        for row in rows:
            values = [row[column] for column in columns]
            self._hash.update(json.dumps(values, ensure_ascii=False, sort_keys=True, default=str).encode())
            yield row

    def hexdigest(self) -> str:
        """Hash of the rows passed so far."""
        return self._hash.hexdigest()
