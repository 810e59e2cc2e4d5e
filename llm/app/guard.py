"""What stands before every request: who may ask, how much they may send, and what a browser may do with the answer.

A page of another site must neither read from this server nor make it compute, though a browser on this machine reaches
it: a name that points to 127.0.0.1 (DNS rebinding) is no name of this server, and another origin is none of its pages.
"""

import ipaddress
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException

from llm.app.answers import failure_json
from llm.app.limits import MAX_BODY

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

MAX_DIGITS = len(str(MAX_BODY))  # Python reads no number of thousands of digits
TOO_LARGE = f"the body is longer than {MAX_BODY:,} bytes"
SECURITY = {
    "content-security-policy": "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


class Guard:
    """The application behind these checks."""

    def __init__(self, app: Application, host: str) -> None:
        self.app, self.host = app, host

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return  # no websockets here
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = check_request(scope["method"], headers, self.host)
        if refusal is not None:
            await _refuse(send, scope["path"], *refusal)
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *_encoded(SECURITY)]
            await send(message)

        await self.app(scope, _limited(receive), send_safely)


def check_request(method: str, headers: MutableMapping[str, str], host: str) -> tuple[int, str] | None:
    """Status and line of the refusal; None where nothing is wrong with who asks and how much they announce.

    >>> check_request("GET", {"host": "evil.example:8000"}, "127.0.0.1")[0]
    403
    """
    asked = headers.get("host", "")
    if not is_own_name(asked, host):
        return 403, f"this server is not {asked[:100]!r}: open it by its address or as localhost"
    origin = headers.get("origin")
    if method not in ("GET", "HEAD") and origin is not None and place_of(origin) != asked.lower():
        return 403, f"requests from pages of {origin[:100]!r} are refused"
    length = headers.get("content-length", "0")
    if not length.isdecimal() or len(length) > MAX_DIGITS or int(length) > MAX_BODY:
        return 413, TOO_LARGE
    return None


def place_of(origin: str) -> str:
    """Host and port of an Origin header; "" where it is none.  place_of("http://Box") == "box\""""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def is_own_name(asked: str, host: str) -> bool:
    """Whether a Host header names this server: by an address, as localhost, or as --host does.

    An address is never a name that somebody else can point here.

    >>> [is_own_name(name, "box") for name in ("127.0.0.1:8000", "[::1]:8000", "localhost", "box:80", "evil.example")]
    [True, True, True, True, False]
    """
    try:
        name = None if "@" in asked else urlsplit(f"//{asked}").hostname  # who asks a server names no user
    except ValueError:
        return False
    if name is None:
        return False
    try:
        ipaddress.ip_address(name)
        return True
    except ValueError:
        return name in ("localhost", host.lower())


def _limited(receive: Receive) -> Receive:
    """Receives as `receive` does until the body is too long, whatever length was announced."""
    n_bytes = 0

    async def receive_limited() -> Message:
        nonlocal n_bytes
        message = await receive()
        n_bytes += len(message.get("body", b""))
        if n_bytes > MAX_BODY:
            raise HTTPException(413, TOO_LARGE)
        return message

    return receive_limited


async def _refuse(send: Send, path: str, status: int, line: str) -> None:
    """Answer so. The connection stays: closed on a body that is still coming, it would take the answer with it."""
    headers = {"content-type": "application/json", **SECURITY}
    await send({"type": "http.response.start", "status": status, "headers": _encoded(headers)})
    await send({"type": "http.response.body", "body": json.dumps(failure_json(path, status, line)).encode()})


def _encoded(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers.items()]
