"""Downloads from a real server on this machine: whole or not at all, resumed, retried, checked."""

import gc
import hashlib
import http.client
import importlib.util
import logging
import socket
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import pytest

import llm.fetching.download
from llm.failures import describe_error
from llm.fetching.download import DownloadError, HttpConfig, fetch, local_path, location_name

CONTENT = bytes(range(256)) * 4096  # 1 MiB, four chunks
SHA256 = hashlib.sha256(CONTENT).hexdigest()
HTTP = HttpConfig(timeout_s=5.0, retries=3, backoff_s=0.0)
ONCE = HttpConfig(timeout_s=5.0, retries=0, backoff_s=0.0)


class Server(ThreadingHTTPServer):
    """Serves `content` at /file; `plan` says how each request in turn goes, the rest go well."""

    content = CONTENT
    etag = '"v1"'
    ranges = True
    most = len(CONTENT)  # of a range
    retry_after = ""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.plan: list[str | int] = []
        self.requests: list[str | None] = []  # the Range header of each

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/file"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        server.requests.append(self.headers.get("Range"))
        step = server.plan.pop(0) if server.plan else "well"
        if self.path.partition("?")[0] != "/file":
            step = 404
        if isinstance(step, int):
            self.send_status(step)
            return
        if step == "silent":
            self.rfile.read(1)  # until the client gives up
            return
        self.send_content(broken=step == "broken", slow=step == "slow")

    def send_status(self, status: int) -> None:
        self.send_response(status)
        if self.server.retry_after:
            self.send_header("Retry-After", self.server.retry_after)
        if status == 302:
            self.send_header("Location", self.path)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def send_content(self, broken: bool, slow: bool) -> None:
        server, start = self.server, 0
        asked = self.headers.get("Range", "")
        if asked and server.ranges and self.headers.get("If-Range") == server.etag:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        if start and start >= len(server.content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = server.content[start : start + (server.most if start else len(server.content))]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        if server.etag:
            self.send_header("ETag", server.etag)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{start + len(body) - 1}/{len(server.content)}")
        self.end_headers()
        for part in [body[i : i + len(body) // 4] for i in range(0, len(body), len(body) // 4)] if slow else []:
            time.sleep(0.2)
            self.wfile.write(part)
        if not slow:
            self.wfile.write(body[: len(body) // 2] if broken else body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def half_downloaded(server: Server, target: Path) -> None:
    """A run that was cut off halfway."""
    server.plan = ["broken"]
    with pytest.raises(DownloadError):
        fetch(server.url, target, SHA256, ONCE)
    server.requests.clear()


def test_a_file_arrives_whole_and_leaves_nothing_beside_it(server, tmp_path):
    path = fetch(server.url, tmp_path / "new" / "file.zip", SHA256, HTTP)
    assert path.read_bytes() == CONTENT
    assert [p.name for p in path.parent.iterdir()] == ["file.zip"]


def test_a_connection_dropped_halfway_goes_on_where_it_stopped(server, tmp_path):
    server.plan = ["broken"]
    assert fetch(server.url, tmp_path / "f", SHA256, HTTP).read_bytes() == CONTENT
    assert server.requests == [None, f"bytes={len(CONTENT) // 2}-"]


def test_a_later_run_goes_on_where_the_first_one_stopped(server, tmp_path):
    half_downloaded(server, tmp_path / "f")
    assert not (tmp_path / "f").exists()
    assert fetch(server.url, tmp_path / "f", SHA256, HTTP).read_bytes() == CONTENT
    assert server.requests == [f"bytes={len(CONTENT) // 2}-"]


def test_a_range_that_is_shorter_than_asked_is_not_taken_for_the_whole(server, tmp_path):
    half_downloaded(server, tmp_path / "a")
    server.most = len(CONTENT) // 4 + 1
    with pytest.raises(DownloadError, match=r"the server sent [\d,]+ of [\d,]+ bytes"):
        fetch(server.url, tmp_path / "a", None, ONCE)
    assert not (tmp_path / "a").exists()
    assert fetch(server.url, tmp_path / "a", None, ONCE).read_bytes() == CONTENT


@contextmanager
def answering(said: bytes, n_times: int) -> Iterator[str]:
    """Address of a server that gives this answer so often, or until nobody asks; later callers wait in its queue."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(5.0)

        def answer() -> None:
            with suppress(TimeoutError):
                for _ in range(n_times):
                    connection, _ = listening.accept()
                    with connection:
                        connection.recv(65536)
                        connection.sendall(said)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/file"
        finally:
            thread.join()


@pytest.mark.parametrize("there", [b"", b"he"])
@pytest.mark.parametrize(
    "content_range", ["bytes 0-2/11", "bytes 2-4/11", "bytes 3-5/11", "bytes 2-4/*", "bytes 2-4/4", ""]
)
def test_a_part_is_never_taken_for_the_whole(there, content_range, tmp_path):
    (tmp_path / "file.part").write_bytes(there)
    (tmp_path / "file.part.validator").write_text('"v1"')
    said = f"HTTP/1.1 206 Partial Content\r\nContent-Range: {content_range}\r\nContent-Length: 3\r\n\r\nllo"
    refused = pytest.raises(DownloadError, match=r"a part of the file|another range|the server sent 5 of (11|4) bytes")
    with answering(said.encode(), 2) as url, refused:
        fetch(url, tmp_path / "file", None, HttpConfig(timeout_s=5.0, retries=1, backoff_s=0.0))
    assert not (tmp_path / "file").exists()


def test_a_file_that_changed_meanwhile_is_downloaded_anew(server, tmp_path):
    half_downloaded(server, tmp_path / "f")
    server.content, server.etag = CONTENT[::-1], '"v2"'
    assert fetch(server.url, tmp_path / "f", None, HTTP).read_bytes() == CONTENT[::-1]


def test_a_server_without_ranges_starts_again(server, tmp_path):
    server.plan, server.ranges = ["broken"], False
    assert fetch(server.url, tmp_path / "f", SHA256, HTTP).read_bytes() == CONTENT


def test_without_a_validator_nothing_is_resumed(server, tmp_path):
    server.etag = ""
    half_downloaded(server, tmp_path / "f")
    assert fetch(server.url, tmp_path / "f", SHA256, HTTP).read_bytes() == CONTENT
    assert server.requests == [None]


def test_a_partial_file_that_was_whole_already_is_kept(server, tmp_path):
    half_downloaded(server, tmp_path / "f")
    (tmp_path / "f.part").write_bytes(CONTENT)
    assert fetch(server.url, tmp_path / "f", SHA256, HTTP).read_bytes() == CONTENT
    assert server.requests == [f"bytes={len(CONTENT)}-"]


def test_a_partial_file_that_is_too_long_is_downloaded_anew(server, tmp_path):
    half_downloaded(server, tmp_path / "f")
    (tmp_path / "f.part").write_bytes(CONTENT + b"more")
    assert fetch(server.url, tmp_path / "f", SHA256, HTTP).read_bytes() == CONTENT


def test_a_busy_server_is_asked_again(server, tmp_path):
    server.plan = [503, 429]
    assert fetch(server.url, tmp_path / "f", SHA256, HTTP).read_bytes() == CONTENT
    assert len(server.requests) == 3


def test_a_server_that_stays_broken_is_given_up_after_the_retries(server, tmp_path):
    server.plan = [500] * 9
    with pytest.raises(DownloadError, match=r"500 .*\(4 tries\).*local path"):
        fetch(server.url, tmp_path / "f", SHA256, HTTP)
    assert len(server.requests) == 4


def test_a_missing_file_is_not_asked_for_again(server, tmp_path):
    with pytest.raises(DownloadError, match="answered 404 Not Found; check the location"):
        fetch(server.url + "/nowhere", tmp_path / "f", SHA256, HTTP)
    assert len(server.requests) == 1


def test_a_silent_server_is_given_up(server, tmp_path):
    server.plan = ["silent"]
    with pytest.raises(DownloadError, match="did not answer in time"):
        fetch(server.url, tmp_path / "f", SHA256, HttpConfig(timeout_s=0.2, retries=0, backoff_s=0.0))


def test_a_wrong_sha256_leaves_no_file(server, tmp_path):
    with pytest.raises(DownloadError, match=f"sha256 is {SHA256}, expected {'0' * 64}"):
        fetch(server.url, tmp_path / "f", "0" * 64, HTTP)
    assert list(tmp_path.iterdir()) == []


def test_no_server_is_one_line_that_says_what_to_do(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/file"
        with pytest.raises(DownloadError) as refused:
            fetch(url, tmp_path / "f", SHA256, ONCE)
    assert "no connection to the server" in str(refused.value)
    assert "local path" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "0x" not in str(refused.value)


def test_an_invalid_url_is_refused_in_one_line(tmp_path):
    with pytest.raises(DownloadError, match="correct the location"):
        fetch("http://", tmp_path / "f", None, ONCE)


def test_a_file_with_the_right_sha256_is_not_downloaded_again(server, tmp_path):
    fetch(server.url, tmp_path / "f", SHA256, HTTP)
    fetch(server.url, tmp_path / "f", SHA256, HTTP)
    assert len(server.requests) == 1


def test_a_file_of_unknown_sha256_is_downloaded_again(server, tmp_path):
    (tmp_path / "f").write_bytes(b"old")
    assert fetch(server.url, tmp_path / "f", None, HTTP).read_bytes() == CONTENT


@pytest.mark.parametrize("form", ["{path}", "file://{path}", "file://localhost{path}"])
def test_a_local_file_is_used_where_it_lies(tmp_path, form):
    source = tmp_path / "corpora [v2]" / "my #1 file (a).zip"
    source.parent.mkdir()
    source.write_bytes(CONTENT)
    location = form.format(path=quote(str(source)) if "://" in form else source)
    assert fetch(location, tmp_path / "target", SHA256, HTTP) == source
    assert not (tmp_path / "target").exists()


def test_a_local_file_with_another_sha256_is_refused_and_kept(tmp_path):
    (tmp_path / "a").write_bytes(b"other")
    with pytest.raises(DownloadError, match="another file or damaged"):
        fetch(str(tmp_path / "a"), tmp_path / "target", SHA256, HTTP)
    assert (tmp_path / "a").exists()


def test_a_missing_local_file_is_named(tmp_path):
    with pytest.raises(DownloadError, match=r"there is no file .*nowhere\.zip"):
        fetch(str(tmp_path / "nowhere.zip"), tmp_path / "target", None, HTTP)


@pytest.mark.parametrize("location", ["ftp://example.org/a.zip", "file://elsewhere/a.zip", "http://[example/a.zip"])
def test_other_kinds_of_location_are_refused(location):
    with pytest.raises(DownloadError):
        local_path(location)


def test_records_hold_no_folder_and_no_secret():
    assert location_name("/home/ann/a.zip") == "a.zip"
    for secret in ("secret", "se'cret", 'se"cret', "se/cret", "se#cret", "se cret"):
        assert location_name(f"https://ann:{secret}@example.org/a.zip?x=1") == "https://example.org/a.zip?..."


def test_a_negative_number_of_retries_is_refused():
    with pytest.raises(ValueError, match="retries is -1"):
        HttpConfig(timeout_s=1, retries=-1, backoff_s=0)


def test_a_slow_link_is_waited_for_as_long_as_bytes_come(server, tmp_path):  # .8 s in all
    server.plan = ["slow"]
    config = HttpConfig(timeout_s=0.6, retries=0, backoff_s=0.0)
    assert fetch(server.url, tmp_path / "f", SHA256, config).read_bytes() == CONTENT


def waits(server, tmp_path, monkeypatch, retry_after):
    """Seconds slept before the second try, after a first one that was answered so."""
    pauses = []
    monkeypatch.setattr(llm.fetching.download.time, "sleep", pauses.append)
    server.plan, server.retry_after = [429], retry_after
    fetch(server.url, tmp_path / "f", None, HttpConfig(timeout_s=5.0, retries=1, backoff_s=0.5))
    return pauses


@pytest.mark.parametrize(("retry_after", "pause_s"), [("7", 7), ("0", 0.5), ("", 0.5), ("soon", 0.5), ("-3", 0.5)])
def test_the_wait_that_a_server_asks_for_is_kept(server, tmp_path, monkeypatch, retry_after, pause_s):
    assert waits(server, tmp_path, monkeypatch, retry_after) == [pause_s]


@pytest.mark.parametrize(("then_s", "least", "most"), [(100, 50, 100), (-100, 0.5, 0.5)])
def test_a_wait_may_be_asked_for_by_a_date(server, tmp_path, monkeypatch, then_s, least, most):
    then = format_datetime(datetime.now(UTC) + timedelta(seconds=then_s), usegmt=True)
    [pause_s] = waits(server, tmp_path, monkeypatch, then)
    assert least <= pause_s <= most


def test_a_server_that_asks_for_an_hour_is_not_waited_for(server, tmp_path):
    server.plan, server.retry_after = [503], "3600"
    with pytest.raises(DownloadError, match="answered 503 and asks to wait 3,600 s: run again then"):
        fetch(server.url, tmp_path / "f", SHA256, HTTP)
    assert len(server.requests) == 1


@pytest.mark.parametrize("content", [b"<!DOCTYPE html><p>Log in", b"\n <HTML>"])
@pytest.mark.parametrize("sha256", [None, SHA256])
def test_a_web_page_in_place_of_the_file_is_refused_and_not_kept(server, tmp_path, content, sha256):
    server.content = content
    with pytest.raises(DownloadError, match="serves a web page, not the file: open it in a browser"):
        fetch(server.url, tmp_path / "f", sha256, HTTP)
    assert list(tmp_path.iterdir()) == []


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


def test_a_git_lfs_pointer_in_place_of_the_file_is_refused(server, tmp_path):
    server.content = POINTER
    with pytest.raises(DownloadError, match="serves a Git-LFS pointer"):
        fetch(server.url, tmp_path / "f", SHA256, HTTP)
    (tmp_path / "a.zip").write_bytes(POINTER)
    with pytest.raises(DownloadError, match=r"a\.zip is a Git-LFS pointer, not the file itself: run `git lfs pull`"):
        fetch(str(tmp_path / "a.zip"), tmp_path / "f", SHA256, HTTP)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_one_line_with_the_file(server, tmp_path):
    (tmp_path / "f.part").symlink_to("/dev/full")
    with pytest.raises(DownloadError, match=r"f\.part cannot be written \(No space left on device\): make room"):
        fetch(server.url, tmp_path / "f", SHA256, HTTP)
    assert len(server.requests) == 1


@pytest.mark.skipif(importlib.util.find_spec("socks") is not None, reason="the package for SOCKS is here")
def test_a_socks_proxy_without_its_package_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "socks5h://ann:secret@127.0.0.1:1080")
    with pytest.raises(DownloadError, match=r"a SOCKS proxy is set, .*pip install pysocks") as refused:
        fetch("http://example.org/file", tmp_path / "f", SHA256, HTTP)
    assert "secret" not in "".join(traceback.format_exception(refused.value))


def test_addresses_that_lead_in_a_circle_are_one_line(server, tmp_path):
    server.plan = [302] * 40
    with pytest.raises(DownloadError, match="from one address to the next without end"):
        fetch(server.url, tmp_path / "f", SHA256, HTTP)
    assert len(server.requests) == 11


def faults(server):
    """Ways in which a download fails, each as what the server does, its content, and another address where there is."""
    host = server.url.removeprefix("http://")
    return {
        "not found": ([404], CONTENT, host + "x"),
        "no more tries": ([500] * 9, CONTENT, host),
        "wrong hash": ([], b"other", host),
        "a page": ([], b"<html>", host),
        "in a circle": ([302] * 40, CONTENT, host),
        "no server": ([], CONTENT, "127.0.0.1:1/file"),
        "no port": ([], CONTENT, "127.0.0.1:99999999/file"),
        "no host": ([], CONTENT, "/file"),
        "wait": (["broken"] + [503] * 9, CONTENT, host),
    }


@pytest.mark.parametrize("fault", faults(SimpleNamespace(url="http://a/file")))
def test_no_secret_of_a_url_is_told_however_it_fails(server, tmp_path, caplog, fault):
    server.plan, server.content, place = faults(server)[fault]
    url = f"http://hush0:hush1@{place}?X-Amz-Signature=hush2&token=hush3"
    caplog.set_level(logging.DEBUG, "llm")
    with pytest.raises(DownloadError) as refused:
        fetch(url, tmp_path / "f", SHA256, HttpConfig(timeout_s=5.0, retries=1, backoff_s=0.0))
    assert "\n" not in str(refused.value)
    told = "".join(traceback.format_exception(refused.value)) + caplog.text
    assert "hush" not in told


@pytest.fixture
def open_connections_end():
    """What requests leaves open is closed here, and not while another test runs."""
    yield
    gc.collect()


def requests_leaves_a_connection_open(test):
    """Where following a redirection fails."""
    ignore = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    return ignore(pytest.mark.usefixtures("open_connections_end")(test))


ODD_ANSWERS = {  # what a server may say, and the line that a user then reads
    "HTTP/1.1 206 Partial Content\r\nContent-Length: 5\r\n\r\nhello": "a part of the file that was not asked for",
    "HTTP/1.1 302 Found\r\nLocation: http://\xe9\r\n\r\n": "the server's answer cannot be read (UnicodeDecodeError)",
    "HTTP/1.1 503 Busy\r\nRetry-After: Mon, 01 Jan 99999999999999999999 00:00:00 GMT\r\n\r\n": "answered 503 Busy",
    "HTTP/1.1 404 \x1b[2JGone\r\n\r\n": "the server answered 404",
}


@requests_leaves_a_connection_open
@pytest.mark.parametrize(("said", "told"), ODD_ANSWERS.items())
def test_an_odd_answer_is_told_in_words(said, told, tmp_path):
    with answering(said.encode("latin-1"), 1) as url, pytest.raises(DownloadError) as refused:
        fetch(url, tmp_path / "file", None, ONCE)
    assert told in describe_error(refused.value) and "\x1b" not in describe_error(refused.value)


@pytest.mark.skipif(
    not hasattr(http.client, "_strip_ipv6_iface"), reason="this Python's http.client, as 3.11.2's, sends such a host on"
)
@requests_leaves_a_connection_open
def test_a_redirection_to_two_addresses_is_told_in_words(tmp_path, monkeypatch):
    """So atheris found, behind a proxy: http.client asserts that a host with a zone stands in brackets."""
    monkeypatch.setenv("no_proxy", "")
    refused = pytest.raises(DownloadError, match=r"cannot be read \(AssertionError\); correct")
    with answering(b"HTTP/1.1 302 Found\r\nLocation: http://a\r\nLocation: http://b\r\n\r\n", 1) as url, refused:
        monkeypatch.setenv("http_proxy", url)
        fetch("http://c.invalid/file", tmp_path / "file", None, ONCE)


def test_a_length_that_is_no_number_is_passed_over(tmp_path):
    said = b"HTTP/1.1 200 OK\r\nContent-Length: \xb2\r\nConnection: close\r\n\r\nhello"
    with answering(said, 1) as url:
        path = fetch(url, tmp_path / "file", None, ONCE)
    assert path.read_bytes() == b"hello"
