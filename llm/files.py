"""Files that are whole or not there at all, what they and the code hash to, and folders that outlive a run."""

import ast
import hashlib
import importlib.util
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

CHUNK_BYTES = 2**24  # held in memory while a file is copied


def write_bytes(path: Path, data: bytes) -> None:
    """Nothing; the file appears whole or not at all, also when the power fails.

    Raises OSError naming the file when the disk is full; what stood there before still does.
    """
    _write_beside(path, [data], len(data)).replace(path)


def copy_file(source: Path, target: Path) -> None:
    """Nothing; the copy appears whole or not at all. Raises OSError like write_bytes."""
    with source.open("rb") as file:
        chunks = iter(lambda: file.read(CHUNK_BYTES), b"")
        _write_beside(target, chunks, source.stat().st_size).replace(target)


def write_together(files: Mapping[Path, bytes], seal: Path) -> None:
    """Nothing; all the files are written, `seal`, one of them, last.

    While it is there, all files are of one call: it goes before the first of the others changes. Until then, also when
    the disk is full (OSError like write_bytes), every file is as it was.
    """
    beside: dict[Path, Path] = {}
    try:
        for path, data in files.items():
            beside[path] = _write_beside(path, [data], len(data))
    except OSError:
        for temporary in beside.values():
            temporary.unlink()
        raise
    seal.unlink(missing_ok=True)
    _sync_folders([seal])
    for path in [path for path in files if path != seal]:
        beside[path].replace(path)
    _sync_folders(files)
    beside[seal].replace(seal)


def _write_beside(path: Path, chunks: Iterable[bytes], n_bytes: int) -> Path:
    """A temporary file beside `path` with the content, safely on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            file.writelines(chunks)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        temporary.unlink(missing_ok=True)
        told = f"{path} cannot be written ({error.strerror}, {n_bytes:,} bytes)"
        raise OSError(f"{told}: make room, then run the same command again") from error
    return temporary


def _sync_folders(paths: Iterable[Path]) -> None:
    """Nothing; the names in the files' folders are safely on the disk, so that a power failure keeps their order."""
    for folder in {path.parent for path in paths}:
        descriptor = os.open(folder, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def json_bytes(value: object) -> bytes:
    """JSON with sorted keys, no NaN."""
    return (json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n").encode()


def write_json(path: Path, value: object) -> None:
    """Nothing; sorted keys, no NaN."""
    write_bytes(path, json_bytes(value))


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
