"""A stand-in of the part of the Hugging Face hub that takes models: repositories made, files kept as they come."""

import base64
import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

LARGE = (".safetensors",)  # sent apart from the commit, as the hub asks for large and binary files
COMMIT = "c" * 40


@dataclass
class Uploads:
    """What the hub holds, and who may write."""

    token: str
    address: str = ""
    made: list[dict[str, Any]] = field(default_factory=list)  # what was asked for of each repository
    files: dict[str, bytes] = field(default_factory=dict)  # by OWNER/NAME/path
    objects: dict[str, bytes] = field(default_factory=dict)  # large files by SHA-256
    requests: list[str] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    uploads: Uploads

    def do_POST(self) -> None:
        """Make a repository, say how files are to come, or take a commit."""
        body = self._body()
        if self.headers.get("Authorization") != f"Bearer {self.uploads.token}":
            return self._json({"error": "Invalid user token"}, 401)
        path = self.path.partition("?")[0]
        if path == "/api/validate-yaml":  # the head of a card
            return self._json({"errors": [], "warnings": []})
        if path == "/api/repos/create":
            self.uploads.made.append(json.loads(body))
            asked = self.uploads.made[-1]
            return self._json({"url": f"{self.uploads.address}/{asked['organization']}/{asked['name']}"})
        if re.fullmatch(r"/api/models/.+/preupload/main", path):
            names = [file["path"] for file in json.loads(body)["files"]]
            modes = {name: "lfs" if name.endswith(LARGE) else "regular" for name in names}
            return self._json(
                {"files": [{"path": n, "uploadMode": modes[n], "shouldIgnore": False, "oid": None} for n in names]}
            )
        if path.endswith(".git/info/lfs/objects/batch"):
            return self._json(
                {"transfer": "basic", "objects": [self._place(one) for one in json.loads(body)["objects"]]}
            )
        if match := re.fullmatch(r"/api/models/(.+)/commit/main", path):
            self._commit(match[1], [json.loads(line) for line in body.splitlines()])
            return self._json({"commitUrl": f"{self.uploads.address}/{match[1]}/commit/{COMMIT}", "commitOid": COMMIT})
        return self._json({"error": "no such page"}, 404)

    def do_PUT(self) -> None:
        """Take a large file."""
        self.uploads.objects[self.path.rpartition("/")[2]] = self._body()
        self._json({})

    def _body(self) -> bytes:
        self.uploads.requests.append(f"{self.command} {self.path}")
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _place(self, one: dict[str, Any]) -> dict[str, Any]:
        return one | {"actions": {"upload": {"href": f"{self.uploads.address}/objects/{one['oid']}"}}}

    def _commit(self, repo: str, entries: list[dict[str, Any]]) -> None:
        for entry in entries:
            value = entry["value"]
            if entry["key"] == "file":
                self.uploads.files[f"{repo}/{value['path']}"] = base64.b64decode(value["content"])
            if entry["key"] == "lfsFile":
                self.uploads.files[f"{repo}/{value['path']}"] = self.uploads.objects[value["oid"]]

    def _json(self, value: Any, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: `Uploads.requests` has it."""


@contextlib.contextmanager
def serve_uploads(token: str) -> Iterator[Uploads]:
    """The hub, while the context lasts."""
    uploads = Uploads(token)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("UploadHandler", (Handler,), {"uploads": uploads}))
    server.daemon_threads = True
    uploads.address = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield uploads
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
