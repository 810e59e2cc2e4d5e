"""What a file holds, one of gzip read up to a bound: its size says nothing about what it unpacks to."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

MAX_RATIO = 100  # text packs 3 to 10 times; gzip's limit is 1,032
ALWAYS_BYTES = 1 << 26  # of a small file, which may well repeat one line


class Unpacked:
    """An open gzip file that raises ValueError behind more bytes than a file of that size honestly holds."""

    def __init__(self, opened: IO[bytes], file: Path) -> None:
        self.opened, self.name = opened, file.name
        self.limit = max(ALWAYS_BYTES, MAX_RATIO * file.stat().st_size)

    def read(self, size: int = -1) -> bytes:
        """The next bytes, as many as are asked for, or all."""
        most = self.limit + 1 - self.opened.tell()
        return self._checked(self.opened.read(most if size < 0 else min(size, most)))

    def readline(self, size: int = -1) -> bytes:
        """The next line, or as many bytes of it as are asked for."""
        most = self.limit + 1 - self.opened.tell()
        return self._checked(self.opened.readline(most if size < 0 else min(size, most)))

    def seek(self, offset: int) -> int:
        """Go to that byte of what is unpacked."""
        return self.opened.seek(offset)

    def _checked(self, read: bytes) -> bytes:
        if self.opened.tell() > self.limit:
            raise ValueError(
                f"{self.name} unpacks to more than {self.limit:,} bytes, far more than a file of that size honestly "
                "holds: unpack it yourself and look at it"
            )
        return read


@contextmanager
def open_unpacked(file: Path) -> Iterator[IO[bytes]]:
    """The bytes of the file, unpacked where it is one of gzip; ValueError where that is damaged or a bomb."""
    with file.open("rb") as opened:
        zipped = opened.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(file) if zipped else file.open("rb") as opened:
            yield cast("IO[bytes]", Unpacked(cast("IO[bytes]", opened), file) if zipped else opened)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{file.name} is not a whole gzip file ({error}): fetch or pack it again") from error
