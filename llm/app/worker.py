"""A thread that computes the replies of one model, all that are asked for at once in one batch.

What is written for a client waits in a `Stream` of limited length. A reply whose stream is full leaves the batch until
its client has read on, so that a slow one costs the others nothing.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from llm.app.batch import Batch, Slot
from llm.app.speaker import Speaker
from llm.app.streamed_reply import N_ALTERNATIVES, StreamedReply, Token
from llm.failures import describe_error

MAX_ROWS = 64  # replies in a batch
BATCH_TOKENS = 32_768  # keys and values of a batch, or one reply: 1.5 GB of SmolLM2-135M
MAX_WAITING = 64  # replies that wait for a place in it
STREAM_LENGTH = 64  # tokens that wait for a client
LOOK_S = 0.05  # between two looks whether a client has read on, where there is nothing else to do
JOIN_S = 10.0  # for the token that is being computed when the server ends

# One model is loaded at a time: transformers makes them on the meta device by a switch that all threads share.
LOADING = threading.Lock()

logger = logging.getLogger(__name__)


class Busy(Exception):
    """Too many wait already."""


class LoadFailed(Exception):
    """The model is not there, or not whole."""


@dataclass(frozen=True)
class End:
    """Why there are no more tokens."""

    reason: str  # end (the model ended it), length (as long as it may be), stopped (its time is up)


class Stream:
    """Tokens on their way from the worker to a client; an End or a line about a failure is the last."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self._items = loop, asyncio.Queue[Token | End | str]()
        self._sent = self._taken = 0
        self.left = False  # the client has gone

    @property
    def full(self) -> bool:
        """Whether the client is far behind."""
        return self._sent - self._taken >= STREAM_LENGTH

    def put(self, item: Token | End | str) -> None:
        """Send from the worker's thread."""
        self._sent += 1
        try:
            self._loop.call_soon_threadsafe(self._items.put_nowait, item)
        except RuntimeError:  # the server has ended
            self.left = True

    async def take(self) -> Token | End | str:
        """The next one."""
        item = await self._items.get()
        self._taken += 1
        return item

    def leave(self) -> None:
        """Ask for no more."""
        self.left = True


@dataclass
class Job:
    """A reply that somebody waits for."""

    reply: StreamedReply
    stream: Stream
    deadline: float  # time.monotonic()
    n_alternatives: int = N_ALTERNATIVES

    @property
    def width(self) -> int:
        """Tokens that it holds at the end, at most."""
        draft = self.reply.slot.draft
        return min(len(draft.prompt) + len(draft.draws), self.reply.speaker.about.context_length)


@dataclass
class Worker:
    """The thread of one model, started and the model loaded when it is first asked for something."""

    load: Callable[[], Speaker]
    waiting: deque[Job] = field(default_factory=deque)
    calls: deque[tuple[Callable[[Speaker], Any], Future[Any]]] = field(default_factory=deque)
    running: dict[int, Job] = field(default_factory=dict)  # by the id of their slot
    batch: Batch | None = None
    thread: threading.Thread | None = None
    closed: bool = False
    changed: threading.Condition = field(default_factory=threading.Condition)

    def call(self, function: Callable[[Speaker], Any]) -> "Future[Any]":
        """What the function gives, computed by the thread between two tokens. Raises Busy."""
        found: Future[Any] = Future()
        with self.changed:
            if self.closed or len(self.calls) >= MAX_WAITING + MAX_ROWS:
                raise Busy
            self.calls.append((function, found))
            self._wake()
        return found

    def submit(self, job: Job) -> None:
        """Have the reply written. Raises Busy."""
        with self.changed:
            if self.closed or len(self.waiting) >= MAX_WAITING:
                raise Busy
            self.waiting.append(job)
            self._wake()

    def close(self) -> None:
        """End the thread behind the token that it computes."""
        with self.changed:
            self.closed = True
            self.changed.notify()
        if self.thread is not None:
            self.thread.join(JOIN_S)

    def _wake(self) -> None:
        if self.thread is None:
            self.thread = threading.Thread(target=self._run, daemon=True)
            self.thread.start()
        self.changed.notify()

    def _run(self) -> None:
        while True:
            with self.changed:
                while not (self.closed or self.calls or self.waiting or self.running):
                    self.changed.wait()
                if self.closed:
                    self._refuse_all()
                    return
                calls = [self.calls.popleft() for _ in range(len(self.calls))]
            for function, found in calls:
                self._answer(function, found)
            try:
                self._admit()
                self._step()
            except Exception as error:  # the outermost frame of the thread
                self._fail(error)

    def _answer(self, function: Callable[[Speaker], Any], found: "Future[Any]") -> None:
        if not found.set_running_or_notify_cancel():
            return
        try:
            speaker = self._batch().speaker
        except Exception as error:
            logger.error("a model cannot be loaded", exc_info=error)
            found.set_exception(LoadFailed(f"the model cannot be loaded: {describe_error(error)}"))
            return
        try:
            found.set_result(function(speaker))
        except Exception as error:  # it is raised where the answer is awaited
            found.set_exception(error)

    def _batch(self) -> Batch:
        """The batch of the model, which is loaded for it."""
        if self.batch is None:
            with LOADING:
                self.batch = Batch(self.load(), N_ALTERNATIVES)
        return self.batch

    def _admit(self) -> None:
        """Let as many join as there is room for."""
        now = time.monotonic()
        while True:
            with self.changed:
                if not self.waiting or not self._fits(self.waiting[0]):
                    return
                job = self.waiting.popleft()
            if job.stream.left:
                continue
            if now > job.deadline:
                job.stream.put(End("stopped"))
                continue
            self.running[id(job.reply.slot)] = job
            self._batch().join(job.reply.slot)

    def _fits(self, job: Job) -> bool:
        """Whether there is a place beside those that are computed: one whose client is far behind has none."""
        computed = [one for one in self.running.values() if not one.reply.slot.left]
        n = len(computed) + 1
        longest = max([job.width, *(one.width for one in computed)])
        return n == 1 or (n <= MAX_ROWS and n * longest <= BATCH_TOKENS)

    def _step(self) -> None:
        """One token more for all who can take one."""
        batch = self._batch()
        for job in list(self.running.values()):
            self._look_at(batch, job)
        batch.n_alternatives = max((job.n_alternatives for job in self.running.values()), default=0)
        steps = batch.step()
        for slot, step in steps:
            job = self.running[id(slot)]
            token = job.reply.show(step, job.n_alternatives)
            if token is not None:
                job.stream.put(token)
            if slot.draft.done:
                self._finish(job, job.reply.reason)
        if not steps and self.running:
            time.sleep(LOOK_S)

    def _look_at(self, batch: Batch, job: Job) -> None:
        """Let a reply go that nobody waits for; leave out one whose client is far behind, and take it in again."""
        slot: Slot = job.reply.slot
        if job.stream.left or time.monotonic() > job.deadline:
            self._finish(job, "stopped")
        elif slot.draft.done:  # by its prefix already
            self._finish(job, "length")
        elif job.stream.full:
            slot.left = True
        elif slot.left and self._fits(job):
            batch.rejoin(slot)

    def _finish(self, job: Job, reason: str) -> None:
        job.reply.slot.left = True
        del self.running[id(job.reply.slot)]
        job.stream.put(End(reason))

    def _refuse_all(self) -> None:
        """Tell everyone that the server ends."""
        for job in [*self.running.values(), *self.waiting]:
            job.stream.put("the server ends")
        for _, found in self.calls:
            found.cancel()

    def _fail(self, error: Exception) -> None:
        """Tell everyone in the batch, and begin with an empty one."""
        logger.error("a batch failed: %s", describe_error(error), exc_info=error)
        for job in self.running.values():
            job.stream.put(describe_error(error))
        self.running.clear()
        if self.batch is not None:
            self.batch = Batch(self.batch.speaker, N_ALTERNATIVES)
