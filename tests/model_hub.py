"""A stand-in of the Hugging Face hub for one model, acme/tiny: the part of its interface that downloading uses."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.hub_server import answering

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = "acme/tiny"


@dataclass
class ModelHub:
    """The repository's files, what is asked of users, and what was asked by them."""

    files: dict[str, bytes]
    gated: bool = False
    unavailable: bool = False  # every answer is 503
    portal: bool = False  # every answer is a network's sign-in page
    said_bytes: dict[str, int] = field(default_factory=dict)  # of files, in the place of their true sizes
    cut: str = ""  # file whose connection breaks off halfway
    asked: list[str] = field(default_factory=list)  # paths, in order

    def entry(self, name: str) -> dict[str, Any]:
        """What a listing says of a file; of a large one its SHA-256 as Git LFS has it."""
        body = self.files[name]
        size = self.said_bytes.get(name, len(body))
        large = {"lfs": {"oid": hashlib.sha256(body).hexdigest(), "size": size, "pointerSize": 134}}
        named = {"oid": hashlib.sha1(body).hexdigest(), "size": size}
        return named | (large if name.endswith(".safetensors") else {})

    def info(self) -> dict[str, Any]:
        """What the hub says of the model."""
        siblings = [
            {"rfilename": name, "size": entry["size"], "blobId": entry["oid"]}
            | ({"lfs": {"sha256": entry["lfs"]["oid"]} | entry["lfs"]} if "lfs" in entry else {})
            for name in self.files
            for entry in [self.entry(name)]
        ]
        gated, card = "auto" if self.gated else False, {"license": "apache-2.0"}
        return {"id": NAME, "sha": COMMIT, "siblings": siblings, "gated": gated, "cardData": card}


class Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    hub: ModelHub

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: `ModelHub.asked` has it."""

    def do_HEAD(self) -> None:
        """Answer as to GET, without the body."""
        self.answer(with_body=False)

    def do_GET(self) -> None:
        """Answer with the model's description, its listing or a file."""
        self.answer(with_body=True)

    def answer(self, with_body: bool) -> None:
        """Send what the hub would."""
        hub, path = self.hub, self.path.split("?")[0]
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        hub.asked.append(path)
        if hub.unavailable:
            return self.send(503, {}, {}, with_body)
        if hub.portal:
            return self.send(200, b"<html>Please sign in</html>", {}, with_body)
        if token == "hf_unknown":
            return self.send(401, {}, {"X-Error-Message": "Invalid credentials in Authorization header"}, with_body)
        if path.startswith(f"/api/models/{NAME}/"):
            kind, _, revision = path.removeprefix(f"/api/models/{NAME}/").partition("/")
            if revision not in ("main", COMMIT):
                return self.send(404, {}, {"X-Error-Code": "RevisionNotFound"}, with_body)
            listed = [{"type": "file", "path": name, **hub.entry(name)} for name in hub.files]
            return self.send(200, hub.info() if kind == "revision" else listed, {}, with_body)
        if path.startswith("/api/"):  # as the hub answers who has no token
            return self.send(401, {}, {"X-Error-Code": "RepoNotFound"}, with_body)
        if hub.gated and token != "hf_right":
            return self.send(403, {}, {"X-Error-Code": "GatedRepo"}, with_body)
        return self.send_file(path.removeprefix(f"/{NAME}/resolve/{COMMIT}/"), with_body)

    def send_file(self, name: str, with_body: bool) -> None:
        """Send a file, or what is left of it."""
        body, entry = self.hub.files[name], self.hub.entry(name)
        first = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        etag = entry["lfs"]["oid"] if "lfs" in entry else entry["oid"]
        headers = {"ETag": f'"{etag}"', "X-Linked-ETag": f'"{etag}"', "X-Repo-Commit": COMMIT}
        if first:
            headers["Content-Range"] = f"bytes {first}-{len(body) - 1}/{len(body)}"
        self.send(206 if first else 200, body[first:], headers, with_body, cut=name == self.hub.cut)

    def send(self, status: int, body: Any, headers: dict[str, str], with_body: bool, cut: bool = False) -> None:
        """Send bytes, or anything else as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(data[: len(data) // 2] if cut else data)


@contextmanager
def serve_model(files: dict[str, bytes]) -> Iterator[tuple[ModelHub, str]]:
    """The hub and its address, while the context lasts."""
    hub = ModelHub(files)
    with answering(type("ModelHubHandler", (Handler,), {"hub": hub})) as address:
        yield hub, address
