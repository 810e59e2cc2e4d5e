"""A real server on a port of its own, in a thread."""

import contextlib
import json
import socket
import threading
import time

import uvicorn

from llm.app.api import make_app
from llm.app.house import House


@contextlib.contextmanager
def serving(listed, static):
    """Its house and port, while the context lasts."""
    house = House(listed)
    config = uvicorn.Config(
        make_app(house, "127.0.0.1", static), "127.0.0.1", 0, log_level="critical", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started)
    try:
        yield house, server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def wait_until(condition, timeout_s=20.0):
    """Wait for what other threads bring about."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)


def events(text):
    """The data of server-sent events."""
    lines = [block.removeprefix("data: ") for block in text.split("\n\n") if block]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def send_raw(port, data):
    """All that the server answers to these bytes."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(data)
        found = b""
        with contextlib.suppress(ConnectionResetError):
            while more := connection.recv(65536):
                found += more
    return found.decode()
