"""Clients that hold a connection without asking or reading: a normal one is answered, and they are let go."""

import asyncio
import contextlib
import json
import logging
import socket
import sys
import time

import pytest
import requests

from llm.app import connections, worker
from llm.app.catalogue import watch_models
from llm.app.connections import make_server
from tests.app.served import serving, wait_until

ASKED = [{"role": "user", "content": "What is a word?"}]
SEED = 3  # of a draw whose first token does not end the reply
N_SLOW = 20


def request_bytes(max_tokens):
    body = json.dumps({"model": "base", "messages": ASKED, "max_tokens": max_tokens, "temperature": 2}).encode()
    head = "POST /api/reply HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length:"
    return f"{head} {len(body)}\r\n\r\n".encode() + body


@pytest.fixture
def port(models, static):
    with serving(watch_models(models), static) as (_, port):
        yield port


@contextlib.contextmanager
def slow_clients(port, sent, n=N_SLOW):
    """So many that send this and no more, and read nothing."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20)) for _ in range(n)]
        for client in clients:
            client.sendall(sent)
        yield clients


def seconds_to_first_token(port):
    body, began = {"model": "scratch", "messages": ASKED, "max_tokens": 5, "seed": SEED}, time.monotonic()
    with requests.post(f"http://127.0.0.1:{port}/api/reply", json=body, stream=True, timeout=20) as reply:
        assert b'"token"' in next(reply.iter_lines())
    return time.monotonic() - began


def is_closed(client):
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("n_bytes", [0, 20, -20], ids=["nothing", "half a head", "half a body"])
def test_beside_clients_that_ask_slowly_another_is_answered(port, n_bytes):
    seconds_to_first_token(port)  # loads the model
    with slow_clients(port, request_bytes(5)[:n_bytes]):
        assert seconds_to_first_token(port) < 2


@pytest.mark.parametrize("n_bytes", [0, 20, -20], ids=["nothing", "half a head", "half a body"])
def test_a_request_that_does_not_become_whole_is_let_go(port, monkeypatch, n_bytes):
    monkeypatch.setattr(connections, "REQUEST_S", 1.0)
    with slow_clients(port, request_bytes(5)[:n_bytes], n=1) as (client,):
        began = time.monotonic()
        assert is_closed(client)
        assert 0.5 < time.monotonic() - began < 5


def test_a_byte_at_a_time_does_not_lengthen_it(port, monkeypatch):
    monkeypatch.setattr(connections, "REQUEST_S", 1.0)
    with slow_clients(port, request_bytes(5)[:-20], n=1) as (client,), pytest.raises(OSError):
        for _ in range(19):  # 3.8 seconds, a byte less than whole
            client.sendall(b" ")
            time.sleep(0.2)


def test_a_reply_may_take_longer_than_a_request(port, monkeypatch):
    monkeypatch.setattr(connections, "REQUEST_S", 0.3)
    with slow_clients(port, request_bytes(600), n=1) as (client,):
        found = b""
        while b'"done"' not in found:
            more = client.recv(65536)
            assert more
            found += more


def test_beyond_the_limit_the_one_that_waited_longest_makes_room(port, monkeypatch):
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", N_SLOW)
    with slow_clients(port, b"") as clients:
        assert seconds_to_first_token(port) < 9
        assert is_closed(clients[0])
        clients[-1].sendall(b"GET /api/models HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert clients[-1].recv(15) == b"HTTP/1.1 200 OK"


def test_a_client_that_reads_nothing_is_let_go(models, static, monkeypatch):
    monkeypatch.setattr(connections, "READ_S", 0.5)
    with serving(watch_models(models), static) as (_, port), socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        asked = b"GET /static/index.html HTTP/1.1\r\nHost: localhost\r\n\r\n"
        (static / "long.txt").write_bytes(b"x" * 20_000_000)
        client.sendall(asked.replace(b"index.html", b"long.txt"))
        time.sleep(2)
        (static / "long.txt").unlink()
        found = 0
        with contextlib.suppress(ConnectionResetError):
            while more := client.recv(1 << 20):
                found += len(more)
        assert found < 20_000_000


def test_replies_that_are_not_read_hold_no_place_in_the_batch(models, static, monkeypatch):
    monkeypatch.setattr(worker, "MAX_ROWS", 2)
    monkeypatch.setattr(worker, "STREAM_LENGTH", 0)  # as if none of the first ones read
    with serving(watch_models(models), static) as (served, port), slow_clients(port, request_bytes(9), n=4):
        wait_until(lambda: len(served.workers["base"].running) == 4)


@pytest.mark.parametrize(("raised", "told"), [(asyncio.CancelledError(), False), (ValueError("a defect"), True)])
def test_of_requests_that_end_with_the_server_no_traceback_is_shown(raised, told):
    make_server(None, 1)
    try:
        raise raised
    except (ValueError, asyncio.CancelledError):
        record = logging.LogRecord("uvicorn.error", logging.ERROR, "", 1, "Exception in ASGI", (), sys.exc_info())
    assert bool(logging.getLogger("uvicorn.error").filter(record)) == told
