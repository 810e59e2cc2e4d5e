"""A real server on a port of its own, in a thread."""

import contextlib
import json
import socket
import threading
import time

from llm.app.api import STATIC, make_app
from llm.app.connections import make_server
from llm.app.served_models import ServedModels


@contextlib.contextmanager
def serving(list_models, static=STATIC):
    """Its models and port, while the context lasts."""
    served = ServedModels(list_models)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = make_server(make_app(served, "127.0.0.1", static), 1)
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        wait_until(lambda: server.started)
        try:
            yield served, listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(60)
            assert not thread.is_alive()


def wait_until(condition, timeout_s=60.0):
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
