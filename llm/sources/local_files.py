"""Rows of data sets on this machine: which files of a folder hold them, and each row with its place."""

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from llm.download import DownloadError

Row = Mapping[str, Any]
PlacedRow = tuple[str, Row]  # "own.jsonl, line 12" and the row

ENDINGS = (".parquet", ".jsonl", ".json", ".arrow")
# Written beside a data set by `datasets`, `huggingface_hub` and the tools around them; none holds rows.
METADATA = (
    *("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "datapackage.json"),
    *("config.json", "metadata.json", "croissant.json", "readme.json", "package.json", "package-lock.json"),
)
TRAIN = {"train", "training"}
HELD_OUT = {"test", "testing", "validation", "valid", "val", "dev", "eval", "evaluation"}
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
BATCH_ROWS = 1000  # of parquet files, in memory at a time
BUFFER_BYTES = 1 << 20  # of each of their columns, or a whole row group would be, however large

logger = logging.getLogger(__name__)


def find_files(location: Path, endings: Sequence[str] = ENDINGS) -> list[Path]:
    """The file itself, or a folder's files of these endings in order, hidden files and metadata passed over.

    Raises DownloadError when there is none.
    """
    if location.is_file():
        return [location]
    if not location.exists():
        raise DownloadError(f"there is no file or folder {location}; correct the path")
    found = [path for path in sorted(location.rglob("*")) if path.is_file() and _holds_rows(location, path, endings)]
    if not found:
        raise DownloadError(f"{location} holds no file of rows ({', '.join(endings)}); correct the path")
    return found


def split_files(location: Path, split: str = "train", endings: Sequence[str] = ENDINGS) -> list[Path]:
    """As `find_files`, but of a folder's files only those of the split; what is passed over is logged.

    Those are the files named after it or in a folder that is; for `train`, where none is, those named after no split.
    Raises DownloadError when there are none.
    """
    files = find_files(location, endings)
    if location.is_file():
        return files
    words = {path: _words(path.relative_to(location)) for path in files}
    chosen = [path for path in files if words[path] & (TRAIN if split == "train" else {split})]
    if not chosen and split == "train":
        chosen = [path for path in files if not words[path] & HELD_OUT]
    others = [path.relative_to(location).as_posix() for path in files if path not in chosen]
    shown = f"{', '.join(others[:3])}{' ...' if len(others) > 3 else ''}"
    if not chosen:
        raise DownloadError(f"{location} holds no file of the split {split}, only {shown}: give the file itself")
    if others:
        logger.warning("%s: %d file(s) not read, being not of the split %s: %s", location, len(others), split, shown)
    return chosen


def file_rows(file: Path) -> Iterator[PlacedRow]:
    """Rows of a parquet, Arrow, JSON or JSON lines file with their places, a few in memory at a time.

    Raises ValueError naming the file, and the line where there are lines, when it is damaged or something else.
    """
    with file.open("rb") as opened:
        head = opened.read(len(LFS_POINTER))
    if head == LFS_POINTER:
        raise ValueError(f"{file.name} is a Git LFS pointer in place of the file; run `git lfs pull` in its folder")
    if file.suffix == ".parquet":
        yield from parquet_rows(file, file.name)
    elif file.suffix == ".arrow":
        yield from _table_rows(_arrow_batches(file), file.name, "arrow")
    else:
        yield from _json_rows(file)


def parquet_rows(source: Path | BinaryIO, name: str) -> Iterator[PlacedRow]:
    """Rows of a parquet file, placed by this name; no more of it is read than the rows asked for need."""
    yield from _table_rows(_parquet_batches(source), name, "parquet")


def _holds_rows(folder: Path, path: Path, endings: Sequence[str]) -> bool:
    inside = path.relative_to(folder)
    hidden = any(part.startswith((".", "__MACOSX")) for part in inside.parts)
    cached = path.suffix == ".arrow" and path.name.startswith(("cache-", "tmp"))  # of `Dataset.map`, not of the data
    return not hidden and not cached and path.suffix in endings and path.name.lower() not in METADATA


def _words(inside: Path) -> set[str]:
    """The words of which a path is made.

    >>> sorted(_words(Path("data/train-00000-of-00001.parquet")))
    ['data', 'of', 'train']
    """
    return set(re.split(r"[^a-z]+", inside.with_suffix("").as_posix().lower())) - {""}


def _table_rows(batches: Iterator[Any], name: str, form: str) -> Iterator[PlacedRow]:
    import pyarrow

    number = 0
    try:
        for batch in batches:
            for row in batch.to_pylist():
                number += 1
                yield f"{name}, row {number}", row
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error, OSError) and (type(error) is not OSError or error.errno):  # of the disk, or the hub
            raise
        reason = " ".join(str(error).split()).rstrip(".")
        raise ValueError(
            f"{name} is damaged, or no {form} file (a Git LFS pointer, a web page) after row {number}: {reason}; "
            f"fetch it again, or another revision"
        ) from error


def _parquet_batches(source: Path | BinaryIO) -> Iterator[Any]:
    """Batches in order, read as they are needed: pyarrow's data sets would read ahead, on a slow reader without end."""
    from pyarrow.parquet import ParquetFile

    with ParquetFile(source, buffer_size=BUFFER_BYTES, pre_buffer=False) as table:
        yield from table.iter_batches(BATCH_ROWS, use_threads=False)


def _arrow_batches(file: Path) -> Iterator[Any]:
    """Batches of an Arrow stream, as `Dataset.save_to_disk` writes, or of an Arrow file."""
    import pyarrow

    with pyarrow.memory_map(str(file)) as mapped:
        if mapped.read(6) == b"ARROW1":
            reader = pyarrow.ipc.open_file(mapped)
            yield from (reader.get_batch(i) for i in range(reader.num_record_batches))
            return
        mapped.seek(0)
        yield from pyarrow.ipc.open_stream(mapped)


def _json_rows(file: Path) -> Iterator[PlacedRow]:
    """Rows of a JSON list, or of lines of JSON objects; empty lines are passed over."""
    with file.open(encoding="utf-8-sig") as opened:  # -sig: what Windows' editors put before the text
        try:
            start = opened.read(1)
            while start.isspace():
                start = opened.read(1)
            opened.seek(0)
            if start == "[":
                items = enumerate(_list(opened.read(), file), 1)
                yield from ((f"{file.name}, row {number}", _object(item, file, number)) for number, item in items)
                return
            for number, line in enumerate(opened, 1):
                if line.strip():
                    yield f"{file.name}, line {number}", _object(_json(line, file, number), file, number)
        except UnicodeDecodeError as error:
            raise ValueError(f"{file.name} is not UTF-8 ({error}); save it as UTF-8") from error
        except RecursionError as error:
            raise ValueError(f"{file.name} is nested too deeply to be rows") from error


def _list(text: str, file: Path) -> list[object]:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{file.name} is not a whole JSON list ({error})") from error


def _json(line: str, file: Path, number: int) -> object:
    try:
        return json.loads(line)
    except ValueError as error:
        hint = "one object a line, or one list of objects"
        raise ValueError(f"{file.name}, line {number} is not JSON ({error}); expected: {hint}") from error


def _object(item: object, file: Path, number: int) -> Row:
    if not isinstance(item, dict):
        raise ValueError(f"{file.name}, row {number} is {json.dumps(item)[:40]}, not an object with named columns")
    return item
