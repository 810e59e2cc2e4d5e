"""Harnesses of what comes over a connection: answers of servers, requests of clients."""

import contextlib
import functools
import json
import os
import re
import socket
import threading
from collections.abc import Iterator

import requests

from llm.app.catalogue import watch_models
from llm.fetching.download import HttpConfig, fetch
from tests.app.served import serving
from tests.app.small_project import write_models
from tests.fuzz.harness import Finding, Harness, in_turn, scratch
from tests.hostile import steering

ONCE = HttpConfig(timeout_s=1.0, retries=1, backoff_s=0)
SILENT_S, TIMEOUT_S = 0.5, 20.0  # after which nothing more is awaited of a request, and of its connection
BUSY = "too many requests are waiting"
PATHS = ("/api/reply", "/api/next", "/v1/chat/completions", "/v1/completions")


class Answers:
    """A server whose answer to whatever is asked is `data`, then the end of the connection."""

    def __init__(self) -> None:
        self.data = b""
        self.listening = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.listening.getsockname()[1])

    def _serve(self) -> None:
        while True:
            connection, _ = self.listening.accept()
            with connection, contextlib.suppress(OSError):
                connection.settimeout(1)
                connection.recv(65536)
                connection.sendall(self.data)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):  # closed on what was not read, the answer would be lost
                    pass


@functools.cache
def answers() -> Answers:
    """The server; it lasts as long as the process."""
    return Answers()


@contextlib.contextmanager
def everything_asked_of(port: int) -> Iterator[None]:
    """Every address is asked of that port, as the proxy, so that no redirect leaves this machine."""
    names = [name for scheme in ("http", "https") for name in (f"{scheme}_proxy", f"{scheme.upper()}_PROXY")]
    names += ["no_proxy", "NO_PROXY"]
    before = {name: os.environ.get(name) for name in names}
    os.environ.update({name: "" if "no" in name.lower() else f"http://127.0.0.1:{port}" for name in names})
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def response(data: bytes) -> None:
    """Download from a server that answers so; then once more, going on with what is there."""
    answers().data = data
    target = scratch() / "fetched.bin"
    for path in scratch().glob("fetched.bin*"):
        path.unlink()
    with everything_asked_of(answers().port):
        in_turn(*[lambda: fetch("http://fuzz.invalid/corpus.zip", target, None, ONCE)] * 2)


RESPONSES = [
    b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: "v1"\r\nLast-Modified: x\r\n\r\nhello',
    b'HTTP/1.1 206 Partial\r\nContent-Range: bytes 2-4/5\r\nContent-Length: 9\r\nETag: W/"v1"\r\n\r\nllo',
    b"HTTP/1.1 416 No\r\nContent-Range: bytes */5\r\n\r\n",
    b"HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 429 Busy\r\nRetry-After: Wed, 21 Oct 2015 07:28:00 GMT\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: http://other.invalid/file\r\nSet-Cookie: a=b\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.0 404 \x1b[2JNot Found\r\n\r\n<html>",
]


@contextlib.contextmanager
def _server() -> Iterator[int]:
    write_models(scratch() / "models")
    with serving(watch_models(scratch() / "models")) as (_, port):
        yield port


@functools.cache
def api_port() -> int:
    """The port of the real server with tiny models; it lasts as long as the process."""
    stack = contextlib.ExitStack()
    port = stack.enter_context(_server())
    KEPT.append(stack)
    return port


KEPT: list[contextlib.ExitStack] = []  # servers that run; `close` ends them


def close() -> None:
    """End the servers."""
    while KEPT:
        KEPT.pop().close()
    api_port.cache_clear()


def as_it_answers(status: int, text: str) -> None:
    """Raise Finding for an answer, or an event of one, that says of a defect, and for one that steers a terminal."""
    if status >= 500 and (status != 503 or BUSY not in text):
        raise Finding(f"the server answered {status}: {text[:200]}")
    if "\x1b" in text or (status >= 400 and steering(text)):
        raise Finding(f"the server answered with an escape: {text[:200]!r}")
    for line in re.findall(r"^data: (\{.*)", text, re.MULTILINE):
        if "error" in json.loads(line):
            raise Finding(f"the server ended its answer by an error: {line[:200]}")


def answered(data: bytes) -> requests.Response:
    """The answer to a body; its first byte says where it is posted."""
    url = f"http://127.0.0.1:{api_port()}{PATHS[data[0] % len(PATHS)]}"
    with requests.Session() as session:
        session.trust_env = False
        return session.post(url, data=data[1:], headers={"content-type": "application/json"}, timeout=30)


def body(data: bytes) -> None:
    """Post a body."""
    if data:
        found = answered(data)
        as_it_answers(found.status_code, found.text)


def body_seeds() -> list[bytes]:
    """What each place takes."""
    asked = {"model": "scratch", "messages": [{"role": "user", "content": "What is a word?"}]}
    few = {"max_tokens": 2, "temperature": 0.5, "top_p": 0.9, "top_k": 3, "seed": 1}
    bodies = [
        {**asked, **few, "prefix": [5, 6], "repetition_penalty": 1.1},
        {**asked, "prefix": [5], "n": 3},
        {**asked, **few, "stop": ["a", "b"], "logprobs": True, "top_logprobs": 2, "stream": True},
        {"model": "base", "prompt": ["Once"], **few, "logprobs": 1, "echo": False},
    ]
    return [bytes([i]) + json.dumps(one).encode() for i, one in enumerate(bodies)]


def sent(data: bytes) -> bytes:
    """All that the server answers to bytes that are perhaps no HTTP.

    Half of the connection ends only when the server is silent: one that sees the end drops what it still computes.
    """
    with socket.create_connection(("127.0.0.1", api_port()), SILENT_S) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(data)
        found = received(connection)
        connection.settimeout(TIMEOUT_S)
        with contextlib.suppress(OSError):  # it has ended the connection
            connection.shutdown(socket.SHUT_WR)
        more = received(connection)
    if more is None:
        raise Finding("the server neither answers nor ends the connection")
    return (found or b"") + more


def received(connection: socket.socket) -> bytes | None:
    """What comes until the end or a silence; None where nothing but silence comes."""
    found = b""
    try:
        while more := connection.recv(65536):
            found += more
    except TimeoutError:
        return found or None
    except OSError:
        pass
    return found


def raw_request(data: bytes) -> None:
    """Send bytes; then the server still answers others."""
    found, port = sent(data), api_port()
    if re.search(rb"HTTP/1\.\d 5\d\d ", found) and BUSY.encode() not in found:
        raise Finding(f"the server answered {found[:200]!r}")
    with requests.Session() as session:
        session.trust_env = False
        if session.get(f"http://127.0.0.1:{port}/api/models", timeout=20).status_code != 200:
            raise Finding("the server answers others no more")


REQUESTS = [
    b"GET /api/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    b"GET /static/../index.html HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    b"POST /api/next HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
    b"Origin: http://localhost\r\nConnection: close\r\n\r\n{}",
    b"POST /v1/completions HTTP/1.1\r\nHost: [::1]:80\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"GET /v1/models/%73cratch?x=1 HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n",
]

HARNESSES = {
    "response": Harness(response, lambda: RESPONSES),
    "body": Harness(body, body_seeds),
    "request": Harness(raw_request, lambda: REQUESTS),
}
