"""Zip files of strangers: read in memory, and refused in one line where they are damaged or no honest corpus."""

import errno
import lzma
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from llm.fetching.download import DownloadError

# Far above any corpus read here; a zip that claims more is broken or hostile.
MAX_UNZIPPED_BYTES = 1 << 30
MAX_ZIP_RATIO = 100  # text packs 3 to 10 times; deflate's limit is 1,032
# Of these zipfile unpacks no more than a member claims; of bzip2 and LZMA all that comes of the bytes it has read.
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# What zipfile and its decompressors raise over wrong bytes; bz2 an OSError without a number, a seek to nowhere EINVAL.
DAMAGE = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, UnicodeError),
    IndexError,  # of a member without a name
)


def read_zip(path: Path, names: Sequence[str]) -> dict[str, bytes]:
    """Contents of the zip's members with these file names, in whatever folder they lie; nothing is unpacked to disk.

    Raises DownloadError for a damaged archive, a missing member or two of one name, or any member that no honest
    corpus holds.
    """
    with refuse_damage(path), zipfile.ZipFile(path) as archive:
        check_members(path, archive.infolist(), MAX_UNZIPPED_BYTES)
        return {name: archive.read(_member(path, archive.infolist(), name)) for name in names}


@contextmanager
def refuse_damage(path: Path) -> Iterator[None]:
    """Raise DownloadError for what zipfile raises where the zip is damaged, or packed in a way it does not know."""
    try:
        yield
    except DownloadError:
        raise
    except (NotImplementedError, RuntimeError) as error:
        raise DownloadError(
            f"{path.name} has an unknown compression or encryption ({error}): unpack it and pack it again as an "
            "ordinary zip, then give the path of that"
        ) from error
    except (*DAMAGE, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # of the disk
            raise
        raise DownloadError(
            f"{path.name} is not a whole zip file ({error}): get it again; a downloaded one lies in .fetched, delete "
            "it there first"
        ) from error


def _member(path: Path, members: Sequence[zipfile.ZipInfo], name: str) -> zipfile.ZipInfo:
    """The only member of that file name."""
    files = [info for info in members if "__MACOSX" not in info.filename and not info.is_dir()]
    found = [info for info in files if Path(info.filename).name == name]
    if not found:
        others = ", ".join(sorted(Path(info.filename).name for info in files)[:10])
        raise DownloadError(f"{path.name} holds no {name}, only {others}: another zip?")
    if len(found) > 1:
        places = ", ".join(info.filename for info in found)
        raise DownloadError(f"{path.name} holds {len(found)} files named {name} ({places}): leave the right one in it")
    return found[0]


def check_members(path: Path, members: Sequence[zipfile.ZipInfo], most: int) -> None:
    """Raise DownloadError for members that no honest archive holds, or for more than `most` bytes in all."""
    for info in members:
        name = info.filename.replace("\\", "/")
        if name.startswith("/") or re.match(r"[A-Za-z]:", name) or ".." in name.split("/"):
            raise DownloadError(f"{path.name} has the member {info.filename!r}, which points outside; refused")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise DownloadError(f"{path.name} has the symbolic link {info.filename!r}; refused")
        if info.flag_bits & 0x1:
            raise DownloadError(f"{path.name} is protected by a password; unpack it and pack it again without one")
        if info.compress_type not in METHODS:
            raise DownloadError(
                f"{path.name} packs {info.filename!r} in an unknown compression, or one without bound (method "
                f"{info.compress_type}): unpack it and pack it again as an ordinary zip, then give the path of that"
            )
    unpacked = sum(info.file_size for info in members)
    packed = sum(info.compress_size for info in members)
    if unpacked > most or unpacked > MAX_ZIP_RATIO * max(1, packed):
        raise DownloadError(f"{path.name} claims to unpack {packed:,} to {unpacked:,} bytes; refused as a zip bomb")
