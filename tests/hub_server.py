"""A stand-in of the Hugging Face hub for data sets, in the interface its own clients use; serves a folder.

`python -m tests.hub_server FOLDER --port 8900`, then run anything with HF_ENDPOINT=http://127.0.0.1:8900.
FOLDER/OWNER/NAME holds the files of a data set's branch main, FOLDER/OWNER/NAME@COMMIT those of another commit;
with commits alone main is the last of them by name. Files are read from disk as they are asked for, by range.
"""

import argparse
import contextlib
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

CHUNK_BYTES = 1 << 20
API = re.compile(r"/api/datasets/([^/]+/[^/]+)(?:/(revision|tree|paths-info)/([^/]+)(?:/(.*))?)?")
RESOLVE = re.compile(r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
MISSING_BYTES = 10_000  # of a file that is shorter than its listing says
PORTAL = b"<html><body>Please accept our terms to use this network.</body></html>"

# What goes wrong: with every request (private, gated, portal), or with the contents of files but README.md alone.
Fault = Literal[
    "private", "gated", "portal", "rate limit", "unavailable", "busy files", "slow", "cut", "cut once", "short"
]
FILE_FAULTS = ("busy files", "slow", "cut", "cut once")


@dataclass
class Hub:
    """The folder served, what goes wrong, and what was asked."""

    folder: Path
    fault: Fault | None = None
    slow_s: float = 30.0  # pause before the second half of a file's bytes
    requests: list[str] = field(default_factory=list)  # "GET /path", in order
    sent_bytes: int = 0  # of file contents

    def commits(self, repo: str) -> dict[str, Path]:
        """Folder of each commit of a data set; `main` is one of the names."""
        owner, name = repo.split("/")
        found = {path.name.partition("@")[2]: path for path in sorted(self.folder.glob(f"{owner}/{name}@*"))}
        main = self.folder / owner / name
        if main.is_dir():
            found[hashlib.sha1(repo.encode()).hexdigest()] = main
        return found | {"main": list(found.values())[-1]} if found else {}

    def commit(self, repo: str, revision: str) -> str | None:
        """The commit hash that a revision stands for."""
        commits = self.commits(repo)
        hashes = [name for name, folder in commits.items() if folder == commits.get(revision) and name != "main"]
        return hashes[0] if hashes else None

    @property
    def broken_files(self) -> bool:
        """Whether the contents of files are what goes wrong."""
        return self.fault in FILE_FAULTS


class Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_HEAD(self) -> None:
        """Answer as to GET, without the body."""
        self.do_GET()

    def do_GET(self) -> None:
        """Answer with a data set's description, a listing or a file."""
        if self._refused():
            return
        path = unquote(urlsplit(self.path).path)
        if match := RESOLVE.fullmatch(path):
            self._file(*match.groups())
        elif match := API.fullmatch(path):
            repo, what, revision, inside = match.groups()
            self._api(repo, what or "revision", revision or "main", inside or "")
        else:
            self._error(404, "EntryNotFound", "no such page")

    def do_POST(self) -> None:
        """Answer which of the paths asked for there are."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self._refused():
            return
        match = API.fullmatch(unquote(urlsplit(self.path).path))
        if not match or match[2] != "paths-info":
            return self._error(404, "EntryNotFound", "no such page")
        found = self._folder(match[1], match[3])
        if found:
            paths = [found / name for name in json.loads(body)["paths"]]
            self._json([self._entry(found, path) for path in paths if path.exists()])

    def _refused(self) -> bool:
        """Whether a fault that hits every request was the answer."""
        self.hub.requests.append(f"{self.command} {self.path}")
        match self.hub.fault:
            case "private":
                self._error(401, "RepoNotFound", "Repository not found")
            case "gated":
                self._error(403, "GatedRepo", "Access to this dataset is restricted")
            case "rate limit":
                self._error(429, "", "Too many requests", {"Retry-After": "0"})
            case "unavailable":
                self._error(503, "", "Service unavailable")
            case "portal":
                self._answer(200, PORTAL, {"Content-Type": "text/html"})
            case _:
                return False
        return True

    def _folder(self, repo: str, revision: str) -> Path | None:
        commits = self.hub.commits(repo)
        if not commits:
            self._error(401, "RepoNotFound", "Repository not found")  # as the hub answers who has no token
        elif revision not in commits:
            self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return commits.get(revision)

    def _api(self, repo: str, what: str, revision: str, inside: str) -> None:
        folder = self._folder(repo, revision)
        if not folder:
            return
        commit = self.hub.commit(repo, revision)
        if what == "revision":
            siblings = [{"rfilename": path.relative_to(folder).as_posix()} for path in _files(folder)]
            about = {"id": repo, "sha": commit, "private": False, "gated": False, "disabled": False, "downloads": 0}
            self._json(about | {"_id": "0" * 24, "author": repo.split("/")[0], "tags": [], "siblings": siblings})
        elif not (folder / inside).is_dir():
            self._error(404, "EntryNotFound", f"{inside} does not exist")
        else:
            deep = "recursive=true" in self.path.lower()
            paths = (folder / inside).rglob("*") if deep else (folder / inside).iterdir()
            self._json([self._entry(folder, path) for path in sorted(paths)])

    def _file(self, repo: str, revision: str, name: str) -> None:
        folder = self._folder(repo, revision)
        if not folder:
            return
        path = folder / name
        if not path.is_file():
            return self._error(404, "EntryNotFound", f"{name} does not exist", self._commit_header(repo, revision))
        broken = self.hub.broken_files and path.name != "README.md"
        if broken and self.hub.fault == "busy files":
            return self._error(503, "", "Service unavailable")
        size = self._size(path)
        first, last, status = 0, size - 1, 200
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last, status = int(match[1]), min(int(match[2] or last), last), 206
            if first >= size:
                return self._error(416, "", "Range not satisfiable", {"Content-Range": f"bytes */{size}"})
        headers = self._commit_header(repo, revision) | {"ETag": f'"{_etag(path)}"', "Accept-Ranges": "bytes"}
        if status == 206:
            headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        with path.open("rb") as file:
            file.seek(first)
            self._send(status, headers, last + 1 - first, iter(lambda: file.read(CHUNK_BYTES), b""), broken)

    def _send(self, status: int, headers: dict[str, str], length: int, chunks: Iterator[bytes], broken: bool) -> None:
        fault = self.hub.fault if broken else None
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command == "HEAD":
            return
        end = length // 2 if fault in ("cut", "cut once", "slow") else length
        self._write(chunks, end)
        if fault == "slow":
            Event().wait(self.hub.slow_s)  # not time.sleep, which tests of waiting clients replace
        if fault or self.hub.fault == "short":
            self.close_connection = True
        if fault == "cut once":
            self.hub.fault = None

    def _write(self, chunks: Iterator[bytes], left: int) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the client had enough
            for chunk in chunks:
                self.wfile.write(chunk[:left])
                self.hub.sent_bytes += min(left, len(chunk))
                left -= min(left, len(chunk))
                if not left:
                    return

    def _entry(self, folder: Path, path: Path) -> dict[str, Any]:
        name = path.relative_to(folder).as_posix()
        if path.is_dir():
            return {"type": "directory", "oid": "0" * 40, "size": 0, "path": name}
        return {"type": "file", "oid": _etag(path), "size": self._size(path), "path": name}

    def _size(self, path: Path) -> int:
        """What is said of it."""
        short = self.hub.fault == "short" and path.name != "README.md"
        return path.stat().st_size + (MISSING_BYTES if short else 0)

    def _commit_header(self, repo: str, revision: str) -> dict[str, str]:
        return {"X-Repo-Commit": self.hub.commit(repo, revision) or ""}

    def _json(self, value: Any) -> None:
        self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _error(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        named = {"X-Error-Code": code, "X-Error-Message": message} if code else {}
        self._answer(status, json.dumps({"error": message}).encode(), named | (headers or {}))

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: `Hub.requests` has it."""


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _etag(path: Path) -> str:
    about = path.stat()
    return hashlib.sha1(f"{path} {about.st_size} {about.st_mtime_ns}".encode()).hexdigest()


@contextlib.contextmanager
def serve(folder: Path, port: int = 0) -> Iterator[tuple[Hub, str]]:
    """The hub and its address, while the context lasts."""
    hub = Hub(folder)
    with answering(type("HubHandler", (Handler,), {"hub": hub}), port) as address:
        yield hub, address


@contextlib.contextmanager
def answering(handler: type[BaseHTTPRequestHandler], port: int = 0) -> Iterator[str]:
    """Address of a server whose connections the handler answers, while the context lasts."""
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def main() -> None:
    """Serve the folder named on the command line until Ctrl-C."""
    parser = argparse.ArgumentParser(description="Serve a folder as the Hugging Face hub serves data sets.")
    parser.add_argument("folder", type=Path, help="holds OWNER/NAME/files or OWNER/NAME@COMMIT/files")
    parser.add_argument("--port", type=int, default=8900)
    arguments = parser.parse_args()
    with serve(arguments.folder, arguments.port) as (_, address), contextlib.suppress(KeyboardInterrupt):
        print(f"serving {arguments.folder}: HF_ENDPOINT={address}", flush=True)
        Event().wait()


if __name__ == "__main__":
    main()
