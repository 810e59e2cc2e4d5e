"""Files from the web or this machine: resumed, retried, checked, and whole or not there at all."""

import logging
import os
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import requests
from tqdm import tqdm

from llm.failures import open_part, printable, without_secrets
from llm.files import file_sha256
from llm.ranges import check_range

CHUNK_BYTES = 1 << 18
RETRIED_STATUS = (408, 425, 429, 500, 502, 503, 504)
MAX_REDIRECTS = 10  # of one request; addresses that grow with each of 30 cost seconds
MAX_WAIT_S = 300.0  # that a server may ask for before the next try
PAGE, POINTER = (b"<!doctype html", b"<html"), b"version https://git-lfs.github.com/spec/"

logger = logging.getLogger(__name__)


class DownloadError(OSError):
    """A file that could not be had; the message says why and what to do."""


class _BrokenTransfer(OSError):
    """A try that failed in a way that another try may mend, after as many seconds as the server asks for."""

    def __init__(self, reason: str, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


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
    try:
        parts = urlsplit(location)
    except ValueError as error:
        raise DownloadError(f"a location is neither a URL nor a path ({error}): correct it") from None
    if parts.scheme in ("http", "https"):
        return None
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise DownloadError(f"{without_secrets(location)} names a host; write file:///path for a file of this one")
        return Path(url2pathname(parts.path))
    if "://" in location:
        raise DownloadError(f"{without_secrets(location)} is not supported; give an http(s) URL or a local path")
    return Path(location).expanduser()


def location_name(location: str) -> str:
    """How a location is written into records: a local file by its name alone, a URL without what is secret in it.

    >>> location_name("/home/ann/corpus.zip"), location_name("https://ann:secret@example.org/a.zip")
    ('corpus.zip', 'https://example.org/a.zip')
    """
    path = local_path(location)
    return path.name if path else open_part(location)


def find_local(location: str, sha256: str | None) -> Path | None:
    """The file that a location names on this machine, checked with `sha256`; None for a URL of the web.

    Raises DownloadError when it is not there, or another one.
    """
    local = local_path(location)
    if local is None:
        return None
    if not local.is_file():
        raise DownloadError(f"there is no file {local}; correct the path, or give the URL instead")
    check_no_pointer(local)
    _check_sha256(local, sha256, f"{local} is another file or damaged")
    return local


def check_no_pointer(path: Path) -> None:
    """Raise DownloadError when the file is what git leaves in the place of a large one that it did not fetch."""
    if _begin(path).startswith(POINTER):
        raise DownloadError(f"{path} is a Git-LFS pointer, not the file itself: run `git lfs pull` where it comes from")


def _begin(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(512)


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
        _check_kind(part, location)
        _check_sha256(part, sha256, f"what {location_name(location)} serves has changed or was damaged on the way")
    except DownloadError:
        _forget(part)
        raise
    part.replace(target)
    _forget(part)
    return target


def _check_sha256(path: Path, expected: str | None, otherwise: str) -> None:
    if expected is None:
        return
    found = file_sha256(path)
    if found != expected:
        raise DownloadError(f"sha256 is {found}, expected {expected}: {otherwise}; set the new one if you trust it")


def _check_kind(path: Path, url: str) -> None:
    """Raise DownloadError when a page or a pointer came in the place of the file."""
    begin, name = _begin(path), location_name(url)
    if begin.startswith(POINTER):
        raise DownloadError(f"{name} serves a Git-LFS pointer, not the file itself: give the address of the file")
    if begin.lstrip().lower().startswith(PAGE) and not urlsplit(url).path.endswith((".html", ".htm")):
        raise DownloadError(
            f"{name} serves a web page, not the file: open it in a browser (a network that wants a login, a page "
            "about the file), then run again, or give the path of a copy as the location"
        )


def _download(url: str, part: Path, config: HttpConfig) -> None:
    """Complete the file `part`, in as many tries as are allowed."""
    name, reason, asked_s = location_name(url), "", 0.0
    for attempt in range(config.retries + 1):
        if attempt:
            pause_s = max(asked_s, config.backoff_s * 2 ** (attempt - 1))
            logger.info("%s: %s; try %d of %d in %.3g s", name, reason, attempt + 1, config.retries + 1, pause_s)
            time.sleep(pause_s)
        try:
            return _receive(url, part, config.timeout_s)
        except _BrokenTransfer as error:
            reason, asked_s = str(error), error.wait_s
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            reason, asked_s = _describe(error), 0.0
        # Its own words repeat the whole URL, a chained traceback too. A ValueError: of a header that is no text, an
        # AssertionError: of a redirection to two addresses at once.
        except (requests.RequestException, ValueError, AssertionError) as error:
            raise DownloadError(f"cannot download {name}: {_describe(error)}") from None
    raise DownloadError(
        f"cannot download {name}: {reason} ({config.retries + 1} tries); check network and proxy, "
        f"or fetch the file elsewhere and give its local path as the location"
    )


def _session() -> requests.Session:
    session = requests.Session()
    session.max_redirects = MAX_REDIRECTS
    return session


def _receive(url: str, part: Path, timeout_s: float) -> None:
    """Complete the file `part` by one request; raise _BrokenTransfer when the connection breaks off before."""
    validator = part.with_name(part.name + ".validator")  # If-Range: go on only if the file is still the same one
    resumable = part.is_file() and part.stat().st_size > 0 and validator.is_file()
    headers = {"Accept-Encoding": "identity"}  # a range counts the bytes that are sent
    if resumable:
        headers |= {"Range": f"bytes={part.stat().st_size}-", "If-Range": validator.read_text(encoding="utf-8")}
    with _session() as session, session.get(url, headers=headers, stream=True, timeout=timeout_s) as response:
        if resumable and response.status_code == 416:  # all bytes are there already, or too many
            size = response.headers.get("Content-Range", "").removeprefix("bytes */")
            if size == str(part.stat().st_size):
                return
            _forget(part)
            raise _BrokenTransfer("the partial file does not fit, starting again")
        _check_status(url, response)
        if response.status_code == 206 and not resumable:
            raise _BrokenTransfer("the server answered with a part of the file that was not asked for")
        if response.status_code == 200:
            _save_validator(response, validator)
            _append(response, part, 0)
            return
        done = part.stat().st_size
        asked = re.fullmatch(rf"bytes {done}-[0-9]+/([0-9]+)", response.headers.get("Content-Range", ""))
        if not asked:  # nor one that leaves open how long the whole is: its end could not be told
            _forget(part)
            raise _BrokenTransfer("the server answered another range, starting again")
        _append(response, part, done)
        there, whole = part.stat().st_size, int(asked[1])
        if there > whole:
            _forget(part)
        if there != whole:  # a server may send less than was asked for (RFC 9110, 15.3.7)
            raise _BrokenTransfer(f"the server sent {there:,} of {whole:,} bytes")


def _check_status(url: str, response: requests.Response) -> None:
    status, name = response.status_code, location_name(url)
    if status in RETRIED_STATUS:
        wait_s = _wait_s(response.headers.get("Retry-After", ""))
        if wait_s > MAX_WAIT_S:
            raise DownloadError(
                f"{name}: the server answered {status} and asks to wait {wait_s:,.0f} s: run again then"
            )
        raise _BrokenTransfer(f"the server answered {status} {response.reason}", wait_s)
    if status not in (200, 206):
        raise DownloadError(f"{name}: the server answered {status} {response.reason}; check the location in a browser")


def _wait_s(retry_after: str) -> float:
    """Seconds of a Retry-After header, which holds them or a date (RFC 9110, 10.2.3); 0 where it says neither."""
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after)
    try:
        then = parsedate_to_datetime(retry_after)
    except (ValueError, OverflowError):
        return 0.0
    return max(0.0, (then.replace(tzinfo=then.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _save_validator(response: requests.Response, path: Path) -> None:
    """Write the strong validator of the response (RFC 9110, 13.1.5) to `path`; remove the file if there is none."""
    tag = response.headers.get("ETag", "")
    value = response.headers.get("Last-Modified") if tag.startswith("W/") or not tag else tag
    if value:
        path.write_text(value, encoding="utf-8")
    else:
        path.unlink(missing_ok=True)


def _append(response: requests.Response, part: Path, done: int) -> None:
    length = response.headers.get("Content-Length", "")
    total = done + int(length) if length.isascii() and length.isdigit() else None
    bar = tqdm(total=total, initial=done, unit="B", unit_scale=True, desc=printable(part.stem), disable=None)
    try:
        with bar, part.open("ab" if done else "wb") as file:
            for chunk in response.iter_content(CHUNK_BYTES):
                file.write(chunk)
                bar.update(len(chunk))
            file.flush()
            os.fsync(file.fileno())
    except requests.RequestException:  # an OSError too
        raise
    except OSError as error:
        reason = f"{part} cannot be written ({error.strerror or error})"
        raise DownloadError(f"{reason}: make room, then run again; it goes on where it stopped") from error
    if total is not None and part.stat().st_size < total:
        raise _BrokenTransfer(f"the connection broke off at {part.stat().st_size:,} of {total:,} bytes")


def _describe(error: Exception) -> str:
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
    if isinstance(error, requests.exceptions.InvalidSchema) and "SOCKS" in str(error):
        return "a SOCKS proxy is set, which needs one more package: `pip install pysocks`, or unset ALL_PROXY"
    if isinstance(error, requests.TooManyRedirects):
        return "the server sends from one address to the next without end; correct the location"
    if not isinstance(error, requests.RequestException):
        return f"the server's answer cannot be read ({type(error).__name__}); correct the location"
    return f"{type(error).__name__}; correct the location"


def _forget(part: Path) -> None:
    for path in (part, part.with_name(part.name + ".validator")):
        path.unlink(missing_ok=True)
