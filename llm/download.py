"""Files from the web or this machine: resumed, retried, checked, and whole or not there at all."""

import logging
import os
import re
import stat
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import requests
from tqdm import tqdm

from llm.files import file_sha256
from llm.ranges import check_range

CHUNK_BYTES = 1 << 18
# Far above any corpus read here; a zip that claims more is broken or hostile.
MAX_UNZIPPED_BYTES = 1 << 30
MAX_ZIP_RATIO = 100  # text packs 3 to 10 times; deflate's limit is 1,032
RETRIED_STATUS = (408, 425, 429, 500, 502, 503, 504)

logger = logging.getLogger(__name__)


class DownloadError(OSError):
    """A file that could not be had; the message says why and what to do."""


class _BrokenTransfer(OSError):
    """A try that failed in a way that another try may mend."""


@dataclass(frozen=True)
class HttpConfig:
    """How long and how often a server is asked."""

    timeout_s: float  # without a byte
    retries: int  # tries after the first one
    backoff_s: float  # before the first retry, doubled each time

    def __post_init__(self) -> None:
        check_range("timeout_s", self.timeout_s, 0.01, 3600)
        check_range("retries", self.retries, 0, 100)
        check_range("backoff_s", self.backoff_s, 0, 600)


def local_path(location: str) -> Path | None:
    """The file a location names on this machine, None for a URL of the web.

    >>> local_path("file:///data/a%20b.zip"), local_path("../a.zip"), local_path("https://example.org/a.zip")
    (PosixPath('/data/a b.zip'), PosixPath('../a.zip'), None)
    """
    parts = urlsplit(location)
    if parts.scheme in ("http", "https"):
        return None
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise DownloadError(f"{location} names the host {parts.netloc}; write file:///path for a file of this one")
        return Path(url2pathname(parts.path))
    if "://" in location:
        raise DownloadError(f"{location}: {parts.scheme}:// is not supported; give an http(s) URL or a local path")
    return Path(location).expanduser()


def location_name(location: str) -> str:
    """How a location is written into records: a local file by its name alone, a URL without user and password.

    >>> location_name("/home/ann/corpus.zip"), location_name("https://ann:secret@example.org/a.zip")
    ('corpus.zip', 'https://example.org/a.zip')
    """
    path = local_path(location)
    if path is not None:
        return path.name
    parts = urlsplit(location)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def find_local(location: str, sha256: str | None) -> Path | None:
    """The file that a location names on this machine, checked with `sha256`; None for a URL of the web.

    Raises DownloadError when it is not there, or another one.
    """
    local = local_path(location)
    if local is None:
        return None
    if not local.is_file():
        raise DownloadError(f"there is no file {local}; correct the path, or give the URL instead")
    _check_sha256(local, sha256, f"{local} is another file or damaged")
    return local


def fetch(location: str, target: Path, sha256: str | None, config: HttpConfig) -> Path:
    """A local file with the location's bytes: the named file itself when it is local, else `target`, downloaded.

    A broken download goes on where it stopped, also in a later run; `target` appears only when whole and, with
    `sha256`, checked. A `target` that is already there is trusted only with a matching `sha256`.
    """
    if local := find_local(location, sha256):
        return local
    if sha256 and target.is_file() and file_sha256(target) == sha256:
        logger.info("%s is already there and has the expected sha256", target)
        return target
    part = target.with_name(target.name + ".part")
    target.parent.mkdir(parents=True, exist_ok=True)
    _download(location, part, config)
    try:
        _check_sha256(part, sha256, f"what {location} serves has changed or was damaged on the way")
    except DownloadError:
        _forget(part)
        raise
    part.replace(target)
    _forget(part)
    return target


def read_zip(path: Path, names: Sequence[str]) -> dict[str, bytes]:
    """Contents of the zip's members with these file names, in whatever folder they lie; nothing is unpacked to disk.

    Raises DownloadError for a damaged archive, a missing member, or any member that no honest corpus holds.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(path, archive.infolist())
            found = {Path(info.filename).name: info for info in archive.infolist() if "__MACOSX" not in info.filename}
            missing = [name for name in names if name not in found]
            if missing:
                raise DownloadError(f"{path.name} holds no {missing[0]}, only {', '.join(sorted(found))}: another zip?")
            return {name: archive.read(found[name]) for name in names}
    except (zipfile.BadZipFile, zipfile.LargeZipFile) as error:
        raise DownloadError(f"{path.name} is not a whole zip file ({error}); delete it and try again") from error


def _check_members(path: Path, members: Sequence[zipfile.ZipInfo]) -> None:
    for info in members:
        name = info.filename.replace("\\", "/")
        if name.startswith("/") or re.match(r"[A-Za-z]:", name) or ".." in name.split("/"):
            raise DownloadError(f"{path.name} has the member {info.filename!r}, which points outside; refused")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise DownloadError(f"{path.name} has the symbolic link {info.filename!r}; refused")
        if info.flag_bits & 0x1:
            raise DownloadError(f"{path.name} is protected by a password; unpack it and pack it again without one")
    unpacked = sum(info.file_size for info in members)
    packed = sum(info.compress_size for info in members)
    if unpacked > MAX_UNZIPPED_BYTES or unpacked > MAX_ZIP_RATIO * max(1, packed):
        raise DownloadError(f"{path.name} claims to unpack {packed:,} to {unpacked:,} bytes; refused as a zip bomb")


def _check_sha256(path: Path, expected: str | None, otherwise: str) -> None:
    if expected is None:
        return
    found = file_sha256(path)
    if found != expected:
        raise DownloadError(f"sha256 is {found}, expected {expected}: {otherwise}; set the new one if you trust it")


def _download(url: str, part: Path, config: HttpConfig) -> None:
    """Complete the file `part`, in as many tries as are allowed."""
    reason = ""
    for attempt in range(config.retries + 1):
        if attempt:
            pause_s = config.backoff_s * 2 ** (attempt - 1)
            logger.info("%s: %s; try %d of %d in %g s", url, reason, attempt + 1, config.retries + 1, pause_s)
            time.sleep(pause_s)
        try:
            return _receive(url, part, config.timeout_s)
        except _BrokenTransfer as error:
            reason = str(error)
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            reason = _describe(error)
        except requests.RequestException as error:
            raise DownloadError(f"cannot download {url}: {_describe(error)}; correct the location") from error
    raise DownloadError(
        f"cannot download {url}: {reason} ({config.retries + 1} tries); check network and proxy, "
        f"or fetch the file elsewhere and give its local path as the location"
    )


def _receive(url: str, part: Path, timeout_s: float) -> None:
    """Complete the file `part` by one request; raise _BrokenTransfer when the connection breaks off before."""
    validator = part.with_name(part.name + ".validator")  # If-Range: go on only if the file is still the same one
    resumable = part.is_file() and validator.is_file()
    headers = {"Accept-Encoding": "identity"}  # a range counts the bytes that are sent
    if resumable:
        headers |= {"Range": f"bytes={part.stat().st_size}-", "If-Range": validator.read_text(encoding="utf-8")}
    with requests.get(url, headers=headers, stream=True, timeout=timeout_s) as response:
        if resumable and response.status_code == 416:  # all bytes are there already, or too many
            size = response.headers.get("Content-Range", "").removeprefix("bytes */")
            if size == str(part.stat().st_size):
                return
            _forget(part)
            raise _BrokenTransfer("the partial file does not fit, starting again")
        _check_status(url, response)
        done = part.stat().st_size if response.status_code == 206 else 0
        if done and not response.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
            _forget(part)
            raise _BrokenTransfer("the server answered another range, starting again")
        if not done:
            _save_validator(response, validator)
        _append(response, part, done)


def _check_status(url: str, response: requests.Response) -> None:
    status = response.status_code
    if status in RETRIED_STATUS:
        raise _BrokenTransfer(f"the server answered {status} {response.reason}")
    if status not in (200, 206):
        raise DownloadError(f"{url}: the server answered {status} {response.reason}; check the location in a browser")


def _save_validator(response: requests.Response, path: Path) -> None:
    """Write the strong validator of the response (RFC 9110, 13.1.5) to `path`; remove the file if there is none."""
    tag = response.headers.get("ETag", "")
    value = response.headers.get("Last-Modified") if tag.startswith("W/") or not tag else tag
    if value:
        path.write_text(value, encoding="utf-8")
    else:
        path.unlink(missing_ok=True)


def _append(response: requests.Response, part: Path, done: int) -> None:
    length = response.headers.get("Content-Length")
    total = done + int(length) if length else None
    bar = tqdm(total=total, initial=done, unit="B", unit_scale=True, desc=part.stem, disable=None)
    with bar, part.open("ab" if done else "wb") as file:
        for chunk in response.iter_content(CHUNK_BYTES):
            file.write(chunk)
            bar.update(len(chunk))
        file.flush()
        os.fsync(file.fileno())
    if total is not None and part.stat().st_size < total:
        raise _BrokenTransfer(f"the connection broke off at {part.stat().st_size:,} of {total:,} bytes")


def _describe(error: requests.RequestException) -> str:
    """The failure in a few words, without the addresses and object names that requests puts into its messages."""
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy does not answer"
    if isinstance(error, requests.exceptions.SSLError):
        return "the server's certificate was not accepted"
    if isinstance(error, requests.Timeout):
        return "the server did not answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off"
    if isinstance(error, requests.ConnectionError):
        return "no connection to the server"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _forget(part: Path) -> None:
    for path in (part, part.with_name(part.name + ".validator")):
        path.unlink(missing_ok=True)
