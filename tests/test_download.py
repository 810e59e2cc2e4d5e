"""Downloads from a real server on this machine: whole or not at all, resumed, retried, checked."""

import hashlib
import io
import socket
import stat
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from llm.download import DownloadError, HttpConfig, fetch, local_path, location_name, read_zip

CONTENT = bytes(range(256)) * 4096  # 1 MiB, four chunks
SHA256 = hashlib.sha256(CONTENT).hexdigest()
HTTP = HttpConfig(timeout_s=5.0, retries=3, backoff_s=0.0)
ONCE = HttpConfig(timeout_s=5.0, retries=0, backoff_s=0.0)


class Server(ThreadingHTTPServer):
    """Serves `content` at /file; `plan` says how each request in turn goes, the rest go well."""

    content = CONTENT
    etag = '"v1"'
    ranges = True

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
        if self.path != "/file":
            step = 404
        if isinstance(step, int):
            self.send_error(step)
            return
        if step == "silent":
            self.rfile.read(1)  # until the client gives up
            return
        self.send_content(broken=step == "broken")

    def send_content(self, broken: bool) -> None:
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
        body = server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        if server.etag:
            self.send_header("ETag", server.etag)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        self.end_headers()
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
    source = tmp_path / "my file.zip"
    source.write_bytes(CONTENT)
    location = form.format(path=str(source).replace(" ", "%20") if "://" in form else source)
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


@pytest.mark.parametrize("location", ["ftp://example.org/a.zip", "file://elsewhere/a.zip"])
def test_other_kinds_of_location_are_refused(location):
    with pytest.raises(DownloadError):
        local_path(location)


def test_records_hold_no_folder_and_no_password():
    assert location_name("/home/ann/a.zip") == "a.zip"
    assert location_name("https://ann:secret@example.org/a.zip?x=1") == "https://example.org/a.zip?x=1"


def test_a_negative_number_of_retries_is_refused():
    with pytest.raises(ValueError, match="retries is -1"):
        HttpConfig(timeout_s=1, retries=-1, backoff_s=0)


def make_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_zip_members_are_found_in_any_folder_but_the_macos_one(tmp_path):
    path = make_zip(tmp_path / "z", {"a corpus/lines.txt": b"1", "__MACOSX/a corpus/lines.txt": b"2", "x": b"3"})
    assert read_zip(path, ["lines.txt"]) == {"lines.txt": b"1"}


def test_a_missing_zip_member_is_named_with_what_is_there(tmp_path):
    with pytest.raises(DownloadError, match=r"holds no lines\.txt, only other\.txt"):
        read_zip(make_zip(tmp_path / "z", {"other.txt": b"1"}), ["lines.txt"])


@pytest.mark.parametrize("name", ["../up.txt", "a/../../up.txt", "/etc/up.txt", "C:/up.txt", "a\\..\\..\\up.txt"])
def test_a_zip_member_that_points_outside_is_refused(tmp_path, name):
    with pytest.raises(DownloadError, match="points outside"):
        read_zip(make_zip(tmp_path / "z", {name: b"1"}), ["up.txt"])


def test_a_symbolic_link_in_a_zip_is_refused(tmp_path):
    link = zipfile.ZipInfo("lines.txt")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "z", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(DownloadError, match="symbolic link"):
        read_zip(tmp_path / "z", ["lines.txt"])


def test_a_zip_bomb_is_refused_before_anything_is_unpacked(tmp_path):  # 10 MB of zeros pack about 1,000 times
    with pytest.raises(DownloadError, match="zip bomb"):
        read_zip(make_zip(tmp_path / "z", {"lines.txt": bytes(10_000_000)}), ["lines.txt"])


def test_a_damaged_zip_is_refused(tmp_path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("lines.txt", b"some text " * 100)
    (tmp_path / "z").write_bytes(packed.getvalue().replace(b"some", b"sane", 1))
    with pytest.raises(DownloadError, match="not a whole zip file"):
        read_zip(tmp_path / "z", ["lines.txt"])
    (tmp_path / "z").write_bytes(packed.getvalue()[:500])
    with pytest.raises(DownloadError, match="not a whole zip file"):
        read_zip(tmp_path / "z", ["lines.txt"])
