"""Files that are whole or not there at all, and what they hash to."""

import hashlib
import json
import os
from pathlib import Path


def write_bytes(path: Path, data: bytes) -> None:
    """Nothing; the file appears whole or not at all, also when the power fails.

    Raises OSError naming the file when the disk is full; what stood there before still does.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        temporary.unlink(missing_ok=True)
        told = f"{path} cannot be written ({error.strerror}, {len(data):,} bytes)"
        raise OSError(f"{told}: make room, then run the same command again") from error
    temporary.replace(path)


def write_json(path: Path, value: object) -> None:
    """Nothing; sorted keys, no NaN."""
    write_bytes(
        path, (json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n").encode()
    )


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
