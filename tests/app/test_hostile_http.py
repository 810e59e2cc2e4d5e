"""Requests that no browser sends: each is refused or answered as any other, and the server goes on."""

import pytest

from llm.app.catalogue import watch_models
from tests.app.served import send_raw, serving

LAST = "Connection: close\r\n\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n"


@pytest.fixture(scope="module")
def port(models, static):
    with serving(watch_models(models), static) as (_, port):
        yield port


def status(port, request):
    """Of the first answer; "" where the connection is closed without one."""
    try:
        return send_raw(port, request.encode("latin-1")).removeprefix("HTTP/1.1 ")[:3]
    except ConnectionError:
        return ""


@pytest.mark.parametrize(
    ("request_text", "expected"),
    [
        (f"GET / HTTP/1.1\r\nHost: localhost\r\nX: {'a' * 300_000}\r\n{LAST}", "400"),
        (f"GET /{'a' * 300_000} HTTP/1.1\r\nHost: localhost\r\n{LAST}", "400"),
        (f"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n{LAST}", "400"),
        (f"GET / HTTP/1.1\r\n{LAST}", "400"),
        (f"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n{LAST}", "403"),
        (f"POST /api/reply HTTP/1.1\r\nHost: localhost\r\nContent-Length: {'9' * 5000}\r\n{LAST}", "400"),
        (f"POST /api/reply HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n{LAST}", "400"),
        (f"POST /api/reply HTTP/1.1\r\nHost: localhost\r\nOrigin: http://[\r\nContent-Length: 0\r\n{LAST}", "403"),
        (f"POST /api/reply HTTP/1.1\r\nHost: localhost\r\n{CHUNKED}{LAST}ffffffffffffffffffffff\r\n", "400"),
        (f"TRACE / HTTP/1.1\r\nHost: localhost\r\n{LAST}", "405"),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "400"),  # who speaks TLS
        ("\x00" * 1000 + "\r\n\r\n", "400"),
    ],
    ids=lambda value: value[:60] if len(value) > 3 else value,
)
def test_a_request_that_is_none_is_refused_and_the_server_goes_on(port, request_text, expected):
    # Closed on bytes that are still coming, a connection may take its answer with it.
    assert status(port, request_text) in ((expected, "") if len(request_text) > 65_536 else (expected,))
    assert status(port, f"GET /api/models HTTP/1.1\r\nHost: localhost\r\n{LAST}") == "200"


def test_a_second_request_hidden_in_a_body_is_not_answered(port):
    """Where both a length and chunks are announced, the chunks count (RFC 9112)."""
    hidden = "GET /api/models HTTP/1.1\r\nHost: localhost\r\n\r\n"
    body = f"{len(hidden):x}\r\n{hidden}\r\n0\r\n\r\n"
    request = f"POST /api/reply HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n{CHUNKED}{LAST}{body}"
    answer = send_raw(port, request.encode())
    assert answer.count("HTTP/1.1 ") == 1 and '"models"' not in answer
