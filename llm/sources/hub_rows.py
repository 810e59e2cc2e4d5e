"""Rows of Hugging Face data sets: from the hub as far as they are needed, from its cache, or from local files."""

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm.fetching.download import DownloadError, local_path, location_name
from llm.sources.local_files import ENDINGS, PlacedRow, ending, find_files, training_files
from llm.sources.local_rows import file_rows, parquet_rows

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
HUB_TIMEOUT_S = 30.0  # for the hub's word on a revision; files have HF_HUB_DOWNLOAD_TIMEOUT
BLOCK_BYTES = 1 << 22  # of a parquet file, fetched by one request; of two columns, read in turn, none is fetched twice
KEPT_BLOCKS = 16
DESCRIPTION = (
    "README.md",
    ".huggingface.yaml",
    "dataset_infos.json",
    ".gitattributes",
)  # cached whenever rows are read

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rows:
    """Rows with their places, and where they come from."""

    rows: Iterator[PlacedRow]
    location: str  # as records name it
    revision: str | None  # commit hash; None of local files


def local_files(location: str, split: str = "train") -> list[Path]:
    """Files that a location names: itself, those of a folder's split in order, or none for an id of the hub.

    What is there on this machine comes before the hub's data set of the same name.
    """
    path = local_path(location)
    if path is None:
        raise DownloadError(f"{location}: give a data set id (owner/name) or a local path, not a URL")
    if not path.exists() and HUB_ID.fullmatch(location) and ending(path) not in ENDINGS:
        return []
    if split == "train" or path.is_file():
        return training_files(path)
    named = re.compile(rf"(?<![a-z]){re.escape(split)}(?![a-z])")
    files = [file for file in find_files(path) if named.search(file.relative_to(path).with_suffix("").as_posix())]
    if not files:
        raise DownloadError(f"{location}: no file of it is named after the split {split}; correct the parameter split")
    return files


def local_rows(location: str, files: Iterable[Path]) -> Rows:
    """Rows of local files in order."""
    return Rows((row for file in files for row in file_rows(file)), location_name(location), None)


def hub_rows(
    location: str, revision: str, config: str | None = None, split: str = "train", folders: Sequence[str] = ()
) -> Rows:
    """Rows of a split in order, folder after folder where some are named, fetched no further than they are read.

    Without a network, or with HF_HUB_OFFLINE=1, rows of the copy in the hub's cache. Raises DownloadError in one line
    when the data set, the revision or the hub is out of reach; what breaks later is raised as it comes.
    """
    _prepare_libraries()
    path, commit = _find(location, revision)
    parts: Sequence[str | None] = folders or [None]
    rows = (row for folder in parts for row in _split_rows(path, commit, location, config, split, folder))
    return Rows(rows, location, commit)


def _prepare_libraries() -> None:
    """Let a failure be told once and soon, by the error alone."""
    from datasets import config

    for name in ("huggingface_hub", "datasets"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # huggingface_hub asks six times itself; 20 times that, as `datasets` would, takes from ten minutes to hours.
    config.STREAMING_OPEN_MAX_RETRIES = config.STREAMING_READ_MAX_RETRIES = 1


def _find(location: str, revision: str) -> tuple[str, str]:
    """What `datasets` is to open, the data set itself or the folder of its cached copy, and the commit hash."""
    import httpx2
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        logger.info("reading %s at revision %s from the Hugging Face hub", location, revision)
        commit = HfApi().dataset_info(location, revision=revision, timeout=HUB_TIMEOUT_S).sha
        if not commit:
            raise DownloadError(f"the hub's answer names no commit of {location}; check HF_ENDPOINT")
        return location, commit
    except RevisionNotFoundError as error:
        raise DownloadError(
            f"the parameter revision is {revision}, which {location} does not have on the Hugging Face hub; give one "
            f"of its commit hashes, branches or tags (main is the newest)"
        ) from error
    except GatedRepoError as error:
        raise DownloadError(
            f"{location} is given only to whom its owners allow: ask on its page of the hub, then set HF_TOKEN"
        ) from error
    except RepositoryNotFoundError as error:
        raise DownloadError(
            f"the parameter location is {location}, which is neither here nor on the Hugging Face hub, or private: "
            f"correct it, or set HF_TOKEN to a token that may read it"
        ) from error
    except (HfHubHTTPError, httpx2.HTTPError, OfflineModeIsEnabled, json.JSONDecodeError):
        if cached := _cached(location, revision):
            logger.warning("%s: the hub is out of reach; reading its copy %s", location, cached)
            return str(cached), cached.name
        raise


def _cached(location: str, revision: str) -> Path | None:
    """Folder of the cached copy, perhaps not of all files; None where it holds no more than the description."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import IncompleteSnapshotError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(location, repo_type="dataset", revision=revision, local_files_only=True))
    except IncompleteSnapshotError as error:
        folder = Path(error.snapshot_path)
    except LocalEntryNotFoundError:
        return None
    return folder if any(path.is_file() and path.name not in DESCRIPTION for path in folder.rglob("*")) else None


def _split_rows(
    path: str, commit: str, location: str, config: str | None, split: str, folder: str | None
) -> Iterator[PlacedRow]:
    from datasets import load_dataset_builder
    from datasets.data_files import EmptyDatasetError
    from datasets.exceptions import DataFilesNotFoundError

    cached = path != location
    try:
        builder = load_dataset_builder(path, config, data_dir=folder, revision=None if cached else commit)
    except (DataFilesNotFoundError, EmptyDatasetError) as error:
        inside = f"no folder {folder} with rows" if folder else "no files of rows"
        where = "the cached copy of it" if cached else f"revision {commit}"
        raise DownloadError(f"{location}: {where} holds {inside}; correct the parameters, or fetch it again") from error
    except ValueError as error:  # several parts and none named, or one that is not among them: it lists them
        if type(error) is not ValueError:
            raise
        reason = " ".join(str(error).split())
        raise DownloadError(f"{location}: the parameter config is {config}: {reason}") from error
    splits = builder.config.data_files or {}
    if split not in splits:
        allowed = ", ".join(map(str, splits))
        raise DownloadError(f"{location}: the parameter split is {split}, allowed: {allowed}")
    if cached:
        _check_shards(splits, location)
    elif builder.hash != commit:  # `datasets` found some commit of it in its own cache, the hub having broken off
        raise DownloadError(f"the Hugging Face hub broke off while describing {location}; try again")
    files = [str(file) for file in splits[split]]
    if all(file.endswith(".parquet") for file in files):
        for file in files:
            yield from _shard_rows(file, location)
    else:
        yield from _streamed_rows(builder, split, location)


def _shard_rows(file: str, location: str) -> Iterator[PlacedRow]:
    """Rows of one parquet file of the hub, or of its cache."""
    from huggingface_hub import HfFileSystem

    if not file.startswith("hf://"):
        yield from file_rows(Path(file))
        return
    name = f"{location}/{file.partition('@')[2].partition('/')[2]}"
    cache = {"cache_type": "blockcache", "cache_options": {"maxblocks": KEPT_BLOCKS}}
    with HfFileSystem().open(file, block_size=BLOCK_BYTES, **cache) as opened:
        yield from parquet_rows(opened, name)


def _streamed_rows(builder: Any, split: str, location: str) -> Iterator[PlacedRow]:
    """Rows of files of other kinds, by `datasets`."""
    number = 0
    try:
        for number, row in enumerate(builder.as_streaming_dataset(split=split), 1):
            yield f"{location}, row {number}", row
    except ValueError as error:  # pyarrow's and JSON's
        reason = " ".join(str(error).split()).rstrip(".")
        raise DownloadError(
            f"{location} is damaged after row {number}, or its files are not what their names say: {reason}; "
            f"give another revision, or the location of a whole copy"
        ) from error


def _check_shards(splits: Mapping[str, Sequence[str]], location: str) -> None:
    """Raise DownloadError unless of files named `...-of-00003...` there are three."""
    for files in splits.values():
        totals = [int(match[1]) for file in files if (match := re.search(r"-of-0*(\d+)", Path(file).name))]
        if totals and len(totals) < max(totals):
            raise DownloadError(f"of {location} the cache holds {len(totals)} of {max(totals)} files; fetch the others")


def checked_columns(rows: Iterator[PlacedRow], columns: Sequence[str], name: str) -> Iterator[PlacedRow]:
    """The rows, or ValueError when there are none, or the first one lacks a column."""
    first = next(rows, None)
    if first is None:
        raise ValueError(f"{name} has no rows")
    place, row = first
    missing = [column for column in columns if column not in row]
    if missing:
        raise ValueError(f"{place} has no column {missing[0]}, only {', '.join(sorted(row))}: another data set?")
    yield first
    yield from rows


class RowHash:
    """SHA-256 over rows as they pass, so that a hub data set can be told from another one."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def watch(self, rows: Iterable[PlacedRow], columns: Sequence[str]) -> Iterator[PlacedRow]:
        """The rows, unchanged."""
        for place, row in rows:
            values = [row.get(column) for column in columns]
            told = json.dumps(values, ensure_ascii=False, sort_keys=True, default=str)
            self._hash.update(told.encode(errors="surrogatepass"))  # JSON can spell half a character
            yield place, row

    def hexdigest(self) -> str:
        """Hash of the rows passed so far."""
        return self._hash.hexdigest()
