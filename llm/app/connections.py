"""The server's connections, and how long each may keep a place without asking or reading anything.

Uvicorn ends a connection that is idle between two requests. It waits for ever for a request that comes a byte at a
time, and for a client that reads no further; those, and too many connections, are ended here.
"""

import asyncio
import logging
from collections.abc import Sequence

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from llm.app.guard import Application
from llm.app.limits import MAX_CONNECTIONS, READ_S, REQUEST_S

UNFINISHED = (h11.IDLE, h11.SEND_BODY)  # what a client is at before its request is whole


class TimedProtocol(H11Protocol):
    """HTTP as uvicorn speaks it, with these limits."""

    request_timer: asyncio.TimerHandle | None = None
    read_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request; beyond the limit the one that has waited longest for its own makes room."""
        super().connection_made(transport)
        self._time_request()
        if len(self.connections) > MAX_CONNECTIONS:
            _longest_unfinished(list(self.connections)).transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take what has come; a request that is whole is timed no more."""
        super().data_received(data)
        if self.conn.their_state not in UNFINISHED:
            self._stop_request_timer()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self._stop_request_timer()
        super().on_response_complete()
        if self.conn.their_state in UNFINISHED:
            self._time_request()

    def pause_writing(self) -> None:
        """Give a client that has read nothing of what was sent so much time for it."""
        super().pause_writing()
        self.read_timer = self.loop.call_later(READ_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: the client has read."""
        super().resume_writing()
        self._stop_read_timer()

    def shutdown(self) -> None:
        """End with the server: a request that is not whole by now is not waited for."""
        if self.request_timer is None:
            super().shutdown()
        else:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._stop_request_timer()
        self._stop_read_timer()
        super().connection_lost(exc)

    def _time_request(self) -> None:
        self._stop_request_timer()
        self.request_timer = self.loop.call_later(REQUEST_S, self.transport.abort)

    def _stop_request_timer(self) -> None:
        if self.request_timer is not None:
            self.request_timer.cancel()
        self.request_timer = None

    def _stop_read_timer(self) -> None:
        if self.read_timer is not None:
            self.read_timer.cancel()
        self.read_timer = None


def _longest_unfinished(connections: Sequence[object]) -> TimedProtocol:
    """The one whose request should have been whole first."""
    waiting = [one for one in connections if isinstance(one, TimedProtocol) and one.request_timer is not None]
    return min(waiting, key=lambda one: one.request_timer.when() if one.request_timer else 0.0)


def make_server(app: Application, grace_s: int) -> uvicorn.Server:
    """A server of the application; replies that are being written when it ends have `grace_s` seconds."""
    config = uvicorn.Config(
        app,
        http=TimedProtocol,
        ws="none",
        log_level="warning",
        timeout_graceful_shutdown=grace_s,
        server_header=False,
    )
    logging.getLogger("uvicorn.error").addFilter(is_no_cancellation)
    return uvicorn.Server(config)


def is_no_cancellation(record: logging.LogRecord) -> bool:
    """Whether a line tells of something else than a request that ended with the server: its traceback helps nobody."""
    return record.exc_info is None or not isinstance(record.exc_info[1], asyncio.CancelledError)
