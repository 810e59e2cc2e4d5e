"""Files that are whole or not there at all, what they and the code hash to, and folders that outlive a run."""

import ast
import errno
import hashlib
import importlib.util
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock

CHUNK_BYTES = 2**24  # held in memory while a file is copied
HALF = re.compile("[\ud800-\udfff]")  # of a pair of code units; Python reads one that stands alone
NOT_HERE = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}  # a file system's answers to what it lacks
FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}  # no room would help

WAITS = "TANDEM_WAIT"  # where the environment has it, a training waits for another one of the very same run

logger = logging.getLogger(__name__)


@contextmanager
def write_whole(path: Path, n_bytes: int | None = None) -> Iterator[BinaryIO]:
    """Hold a file to write to open; it appears at `path` whole or not at all, also when the power fails.

    Raises OSError naming the file when it cannot be written, as on a full disk; what stood there before still does.
    """
    with _write_beside(path, n_bytes) as file:
        yield file
    _beside(path).replace(path)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all. Raises OSError like write_whole."""
    with write_whole(path, len(data)) as file:
        file.write(data)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file, whole or not at all. Raises OSError like write_whole."""
    with source.open("rb") as original, write_whole(target, source.stat().st_size) as copy:
        shutil.copyfileobj(original, copy, CHUNK_BYTES)


def write_together(files: Mapping[Path, bytes], seal: Path) -> None:
    """Write all the files, `seal`, one of them, last.

    While it is there, all files are of one call: it goes before the first of the others changes. Until then, also when
    the disk is full (OSError like write_whole), every file is as it was.
    """
    try:
        for path, data in files.items():
            with _write_beside(path, len(data)) as file:
                file.write(data)
    except OSError:
        for path in files:
            _beside(path).unlink(missing_ok=True)
        raise
    seal.unlink(missing_ok=True)
    _sync_folders([seal])
    for path in [path for path in files if path != seal]:
        _beside(path).replace(path)
    _sync_folders(files)
    _beside(seal).replace(seal)


def _beside(path: Path) -> Path:
    """The temporary file that becomes `path`."""
    return path.with_name(f".{path.name}.tmp")


@contextmanager
def _write_beside(path: Path, n_bytes: int | None) -> Iterator[BinaryIO]:
    """Hold the temporary file of `path` open; afterwards its content is safely on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _beside(path).open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        _beside(path).unlink(missing_ok=True)
        size = "" if n_bytes is None else f", {n_bytes:,} bytes"
        reason = f"{error.strerror or error}{size}"
        raise OSError(f"{path} cannot be written ({reason}){_advice(error)}") from error


def _advice(error: OSError) -> str:
    """What to do about a file that cannot be written."""
    if error.errno in FORBIDDEN:
        return ": see to its permissions, then run the same command again"
    return ": make room, then run the same command again"


def _sync_folders(paths: Iterable[Path]) -> None:
    """Put the names in the files' folders safely on the disk, so that a power failure keeps their order.

    Some file systems (SMB, FUSE) do that for files only.
    """
    for folder in {path.parent for path in paths}:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in NOT_HERE:
                raise
        finally:
            os.close(descriptor)


def json_bytes(value: object) -> bytes:
    """JSON with sorted keys, no NaN."""
    return (json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n").encode()


def write_json(path: Path, value: object) -> None:
    """Write `json_bytes` of the value."""
    write_bytes(path, json_bytes(value))


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_sha256(folder: Path) -> dict[str, str]:
    """Hexadecimal SHA-256 of each file of a folder, by name."""
    return {path.name: file_sha256(path) for path in sorted(folder.iterdir())}


def decode_line(line: bytes, number: int) -> str:
    """Text of a UTF-8 file's line, the first one's byte order mark left out.

    Raises ValueError naming the byte: `byte 0xe9 at position 4 is not UTF-8`.
    """
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {line[error.start]:#04x} at position {error.start + 1} is not UTF-8") from error


def utf8_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number and text of each line, its line break included.

    Raises ValueError naming the line and the byte that is not UTF-8.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                text = decode_line(line, number)
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}; save the file as UTF-8") from None
            yield number, text


def parse_json(text: str) -> Any:
    r"""What a JSON text of strangers holds.

    Raises ValueError for broken JSON, nesting that is too deep, and half characters (`\ud83d`), which no file can hold.
    """
    try:
        value = json.loads(text)
        half = HALF.search(json.dumps(value, ensure_ascii=False)) if "\\u" in text else None
    except RecursionError:
        raise ValueError("its lists or objects are nested too deeply") from None
    if half:
        raise ValueError(f"\\u{ord(half[0]):04x} is half a character")
    return value


def walk_files(folder: Path, is_passed_over: Callable[[str], bool]) -> Iterator[Path]:
    """Files below the folder by name, each folder once, whatever links lead in a circle.

    Files and folders whose name is to be passed over are, with all that such a folder holds.
    """
    seen = set()
    for root, folders, names in os.walk(folder, followlinks=True):
        here = os.stat(root)
        if (here.st_dev, here.st_ino) in seen:
            folders.clear()
            continue
        seen.add((here.st_dev, here.st_ino))
        folders[:] = sorted(name for name in folders if not is_passed_over(name))
        paths = (Path(root, name) for name in sorted(names) if not is_passed_over(name))
        yield from (path for path in paths if path.is_file())


@contextmanager
def working_folder(path: Path) -> Iterator[Path]:
    """An empty folder that is gone afterwards; what a killed process left in it goes first."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def hold_lock(path: Path, wait: bool = False) -> AbstractContextManager[object]:
    """The lock of that path, held until its block ends; the system releases it however its holder ends.

    Raises filelock.Timeout when another process holds it, unless told to wait. Where the file system has no locks
    (Lustre, NFS), nothing is held: a mere marker file would outlive its holder.
    """
    try:
        return FileLock(path, fallback_to_soft=False).acquire(blocking=wait)
    except OSError as error:
        if error.errno not in NOT_HERE | {errno.ENOLCK}:
            raise
        logger.warning("%s: no locks here (%s): two runs at once are not noticed", path, error.strerror)
        return nullcontext()


def code_hash(modules: Sequence[str]) -> str:
    """Hash of what the modules compute: their syntax trees without comments and docstrings."""
    digest = hashlib.sha256()
    for name in modules:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise ValueError(f"no source of module {name}")
        tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if (
                isinstance(body, list)
                and body
                and isinstance(body[0], ast.Expr)
                and isinstance(body[0].value, ast.Constant)
            ):
                node.body = body[1:] or [ast.Pass()]  # type: ignore[attr-defined]
        digest.update(ast.dump(tree).encode())
    return digest.hexdigest()


def lasting_folder(name: str, variable: str) -> Path:
    """The folder `name` of the repository, or the one that the environment variable names; no output of a stage.

    Where DVC runs an experiment in a copy of the repository, it is the folder of the repository itself.
    """
    if override := os.environ.get(variable):
        return Path(override)
    here = Path.cwd().resolve()
    parts = here.parts
    for i in range(len(parts) - 2):
        if parts[i : i + 3] == (".dvc", "tmp", "exps"):
            return Path(*parts[:i]) / name
    return here / name
